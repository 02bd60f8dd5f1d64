"""A process that makes segments: it takes jobs on standard input, and reports on standard output.

Both carry pickles (messages.py), between a program and the processes that it started itself (local_processes.py).
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import sys
import threading
import time
import traceback
import warnings
from typing import BinaryIO

from eden_client.api.regions import discard_all
from eden_client.api.sessions import TokenInClear
from eden_client.film.jobs import SegmentJob
from eden_client.film.messages import Failed, Finished, Message, Ready, Saw, Start, Trouble, Wrote, portable
from eden_client.film.plan.scouting import Scouted, ScoutJob
from eden_client.film.segment_maker import SegmentMaker
from eden_client.film.stages import StageTimes
from eden_client.film.write.results import Written

EVERY_S = 0.1
"""Seconds between reports of how many frames are written."""


def main() -> None:
    """Work until standard input ends, which means that the program that started this is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program that started this
    warnings.simplefilter("ignore", TokenInClear)  # the program that started this has warned
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not get between the messages
    inbox = queue.SimpleQueue[Start | SegmentJob | ScoutJob]()
    threading.Thread(target=_read, args=(sys.stdin.buffer, inbox), daemon=True).start()
    try:
        _work(inbox, _Outbox(out))
    except BrokenPipeError:  # the program that started this is gone
        pass
    except BaseException:
        traceback.print_exc()
    os._exit(1)  # other threads may be waiting for the server, or for input


class _Outbox:
    def __init__(self, out: BinaryIO) -> None:
        self._out, self._lock = out, threading.Lock()

    def tell(self, message: Message) -> None:
        data = pickle.dumps(message)
        with self._lock:
            self._out.write(data)
            self._out.flush()


class _Progress:
    """Frames that were written since the last report."""

    def __init__(self, outbox: _Outbox, times: StageTimes) -> None:
        self._outbox, self._times = outbox, times
        self._told, self._written = -EVERY_S, Written(0.0, frames=0)

    def wrote(self, what: Written) -> None:
        """A frame is written. Several are reported together, so that the other side has fewer messages to read."""
        self._written += what
        if time.monotonic() - self._told >= EVERY_S:
            self.tell()

    def tell(self) -> None:
        """Report now."""
        self._outbox.tell(Wrote(self._written, self._times.taken()))
        self._told, self._written = time.monotonic(), Written(0.0, frames=0)


def _read(source: BinaryIO, inbox: queue.SimpleQueue[Start | SegmentJob | ScoutJob]) -> None:
    while True:
        try:
            inbox.put(pickle.load(source))
        except EOFError:
            discard_all()
            os._exit(0)
        except BaseException:  # tells the thread that waits for a job that none will come
            traceback.print_exc()
            os._exit(1)


def _work(inbox: queue.SimpleQueue[Start | SegmentJob | ScoutJob], outbox: _Outbox) -> None:
    start = inbox.get()
    assert isinstance(start, Start)
    with start.connect() as client:
        client.on_trouble = lambda error: outbox.tell(Trouble(error))
        times = StageTimes()
        progress = _Progress(outbox, times)
        maker = SegmentMaker(start.task, client, progress.wrote, times)
        told = client.traffic.counts()
        outbox.tell(Ready())
        while True:
            job = inbox.get()
            if isinstance(job, ScoutJob):
                outbox.tell(Saw(_found(job)))
                continue
            assert isinstance(job, SegmentJob)
            try:
                entry = maker.make(job)
            except Exception as error:
                outbox.tell(Failed(portable(error)))
                continue
            progress.tell()
            now = client.traffic.counts()
            spans = client.trace.taken() if client.trace else ()
            outbox.tell(Finished(entry, {name: value - told[name] for name, value in now.items()}, spans))
            told = now


def _found(job: ScoutJob) -> list[Scouted] | None:
    try:
        return job.run()
    except Exception:  # whatever it is, the planner meets it again and reports it
        return None


if __name__ == "__main__":
    main()
