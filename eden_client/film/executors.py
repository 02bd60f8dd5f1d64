"""Who makes the segments of a film: processes of this machine. A lost one's segment is made by another.

The first one is made by this process, which is there already: so the first frame comes while the others start.
"""

from __future__ import annotations

import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from eden_client.api.client import EdenClient
from eden_client.api.errors import ServerTrouble
from eden_client.film.jobs import SegmentJob
from eden_client.film.messages import Failed, Finished, Message, Ready, Start, Trouble, Wrote
from eden_client.film.resume_journal import Entry
from eden_client.film.segment_maker import FilmTask, SegmentMaker
from eden_client.film.stages import Stage, StageTimes
from eden_client.film.write.results import Written
from media import MediaError

TRIES = 3
"""How often a segment is begun whose process ends without a word: it may be the segment's doing."""
_PATIENCE = 1.0
"""Seconds that the thread of this process gets to end, if others end the work: it may wait for the server."""


class Hearer(Protocol):
    """Who is told how the segments come along; by one thread."""

    def joined(self) -> None:
        """One more process is at work; not told of one in place of another that was lost."""

    def finished(self, entry: Entry, traffic: dict[str, float]) -> None:
        """A segment is made."""

    def wrote(self, what: Written, times: Mapping[Stage, float]) -> None:
        """A frame is encoded, or what an encoder held back; meanwhile other stages were so long at work."""

    def lost(self, frames: int) -> None:
        """So many frames that were encoded have to be made again."""

    def trouble(self, error: ServerTrouble) -> None:
        """A call is tried again."""

    def note(self, text: str) -> None:
        """Something to know."""


class Executor(Protocol):
    """Makes segments."""

    def run(self, task: FilmTask, jobs: Iterator[SegmentJob], hearer: Hearer) -> None:
        """Make all segments, in any order, anywhere. Raises what making one raises, or what `jobs` raises."""


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    job: SegmentJob | None = None
    ready: bool = False
    frames: int = 0
    """that it has encoded for this job"""
    listener: threading.Thread | None = None

    def close(self) -> int:
        """Wait for its end; its exit code."""
        code = self.process.wait()
        if self.listener is not None:
            self.listener.join()
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()
        return code


@dataclass(frozen=True)
class LocalProcesses:
    """As many processes of this machine as `count`, this one among them for the first segment.

    connect   makes the client in each of the others: plain data
    client    of this process
    """

    count: int
    connect: Callable[[], EdenClient]
    client: EdenClient

    def run(self, task: FilmTask, jobs: Iterator[SegmentJob], hearer: Hearer) -> None:
        """Make all segments. Raises MediaError, EdenError or OSError."""
        run = _Run(Start(task, self.connect), self.client, self.count, jobs, hearer)
        try:
            run.until_all_is_done()
        finally:
            run.end()


@dataclass(frozen=True)
class _Planned:
    """The planner has another job, has no more (None), or has failed."""

    job: SegmentJob | BaseException | None


@dataclass(frozen=True)
class _MadeHere:
    """What this process has to say of the first segment."""

    message: Message


@dataclass
class _Run:
    start: Start
    client: EdenClient
    count: int
    jobs: Iterator[SegmentJob]
    hearer: Hearer
    _events: queue.SimpleQueue[_Planned | _MadeHere | tuple[_Worker, Message | None]] = field(
        default_factory=queue.SimpleQueue
    )
    _workers: list[_Worker] = field(default_factory=list)
    _waiting: list[SegmentJob] = field(default_factory=list)
    _tries: dict[int, int] = field(default_factory=dict)
    _most_ready: int = 0
    _all_planned: bool = False
    _here: threading.Thread | None = None
    _busy_here: bool = False
    _stop: threading.Event = field(default_factory=threading.Event)

    def until_all_is_done(self) -> None:
        self._room = threading.Semaphore(2 * self.count)  # the planner keeps a little ahead, and no more
        threading.Thread(target=self._plan, name="plan", daemon=True).start()
        while self._busy_here or not self._all_planned or self._waiting or any(each.job for each in self._workers):
            match self._events.get():
                case _Planned(job):
                    if isinstance(job, BaseException):
                        raise job
                    self._all_planned = job is None
                    if job is not None and self._here is None:
                        self._make_here(job)
                    elif job is not None:
                        self._waiting.append(job)
                case _MadeHere(message):
                    self._told_here(message)
                case worker, None:
                    self._lost(worker)
                case worker, message:
                    self._told(worker, message)
            self._hand_out()

    def end(self) -> None:
        self._stop.set()
        self._room.release(2 * self.count)
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.close()
        if self._here is not None:
            self._here.join(_PATIENCE)

    def _plan(self) -> None:
        try:
            for job in self.jobs:
                self._room.acquire()
                if self._stop.is_set():
                    return
                self._events.put(_Planned(job))
            self._events.put(_Planned(None))
        except BaseException as error:
            self._events.put(_Planned(error))

    def _make_here(self, job: SegmentJob) -> None:
        """Make a segment in a thread of this process."""

        def make() -> None:
            times = StageTimes()

            def wrote(what: Written) -> None:
                self._events.put(_MadeHere(Wrote(what, times.taken())))

            maker = SegmentMaker(self.start.task, self.client, wrote, times, self._stop)
            try:
                message: Message = Finished(maker.make(job), {})  # this client's traffic is counted as it comes
            except Exception as error:
                message = Failed(error)
            finally:
                maker.close()
            self._events.put(_MadeHere(message))

        self._busy_here = True
        self._here = threading.Thread(target=make, name="first segment", daemon=True)
        self._here.start()

    def _told_here(self, message: Message) -> None:
        match message:
            case Wrote(what, times):
                self.hearer.wrote(what, times)
            case Finished(entry, traffic):
                self._busy_here = False
                self._room.release()
                self.hearer.finished(entry, traffic)
            case Failed(error):
                raise error

    def _told(self, worker: _Worker, message: Message) -> None:
        match message:
            case Ready():
                worker.ready = True
                if sum(each.ready for each in self._workers) > self._most_ready:
                    self._most_ready += 1
                    self.hearer.joined()
            case Wrote(what, times):
                worker.frames += what.frames
                self.hearer.wrote(what, times)
            case Trouble(error):
                self.hearer.trouble(error)
            case Finished(entry, traffic):
                worker.job, worker.frames = None, 0
                self._room.release()
                self.hearer.finished(entry, traffic)
            case Failed(error):
                raise error

    def _lost(self, worker: _Worker) -> None:
        """A process has ended without having been told to."""
        self._workers.remove(worker)
        code = worker.close()
        job = worker.job
        if job is None:
            return  # another is begun when there is something to do
        self._tries[job.number] = self._tries.get(job.number, 0) + 1
        if self._tries[job.number] >= TRIES:
            raise MediaError(f"the process that made segment {job.number} ended {TRIES} times ({_ended(code)})")
        self.hearer.lost(worker.frames)
        self.hearer.note(f"a process that made a segment was lost ({_ended(code)}); another makes it")
        self._waiting.insert(0, job)

    def _hand_out(self) -> None:
        while self._waiting:
            idle = next((each for each in self._workers if each.job is None), None)
            if idle is None and len(self._workers) + self._busy_here < self.count:
                idle = self._begun()
            if idle is None:
                return
            idle.job = self._waiting.pop(0)
            self._send(idle, idle.job)

    def _begun(self) -> _Worker:
        command = [sys.executable, "-m", "eden_client.film.worker"]
        worker = _Worker(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        self._workers.append(worker)
        worker.listener = threading.Thread(target=self._listen, args=(worker,), daemon=True)
        worker.listener.start()
        self._send(worker, self.start)
        return worker

    def _send(self, worker: _Worker, what: Start | SegmentJob) -> None:
        assert worker.process.stdin is not None
        with suppress(OSError):  # it has ended: the thread that listens to it says so
            worker.process.stdin.write(pickle.dumps(what))
            worker.process.stdin.flush()

    def _listen(self, worker: _Worker) -> None:
        assert worker.process.stdout is not None
        while True:
            try:
                message = pickle.load(worker.process.stdout)
            except (EOFError, OSError, ValueError, pickle.UnpicklingError):  # it has ended, in mid-word if killed
                self._events.put((worker, None))
                return
            self._events.put((worker, message))


def _ended(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
