"""Makes the segments of a film by processes of this machine. If a process is lost, another makes its segment again.

The first segment is made by this process, which is already running, while the others start.
"""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO

from eden_client.api.client import EdenClient
from eden_client.film.executor import Observer
from eden_client.film.jobs import SegmentJob
from eden_client.film.messages import Failed, Finished, Message, Ready, Saw, Start, Trouble, Wrote
from eden_client.film.plan.scouting import Scouted, ScoutJob
from eden_client.film.plan_ahead import PlanAhead, Planned
from eden_client.film.read.intact import Doubtful
from eden_client.film.segment_maker import FilmTask, SegmentMaker
from eden_client.film.stages import StageTimes
from media import MediaError

TRIES = 3
"""How often a segment is begun if its process ends unasked each time. Then the segment may be the cause."""
_PATIENCE = 1.0
"""Seconds to wait for the end of this process's thread, which may itself wait for the server."""
_LEAVING = 10.0
"""Seconds that another process gets to end when it is told to, before it is killed."""
_IDLE = {"OPENBLAS_NUM_THREADS": "1"}
"""Environment of those processes. NumPy's matrix library, unused here, would start a thread per core, which spins."""


class _Worker(ABC):
    """Makes segments, one after the other. `tell` is called with its messages, and with None once it has ended."""

    lasts = True
    """Whether it makes another segment after its first."""

    def __init__(self, tell: Callable[[_Worker, Message | None], None]) -> None:
        self._tell = tell
        self.job: SegmentJob | _Wanted | None = None
        self.made: int | None = None
        """number of the last segment that it has finished"""
        self.ready = False
        self.frames = 0
        """frames that it has encoded for this job"""

    def give(self, job: SegmentJob) -> None:
        """Let it make a segment."""
        self.job = job
        self._begin(job)

    @abstractmethod
    def _begin(self, job: SegmentJob) -> None: ...

    @abstractmethod
    def end(self) -> None:
        """Tell it to end, whatever it is doing."""

    @abstractmethod
    def close(self) -> int:
        """Wait for its end. Returns its exit code."""


class _Process(_Worker):
    """Another process of this machine. It also compares stretches of the film."""

    def __init__(self, tell: Callable[[_Worker, Message | None], None], start: Start) -> None:
        super().__init__(tell)
        command = [sys.executable, "-m", "eden_client.film.worker"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | _IDLE)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self._send(start)

    def _begin(self, job: SegmentJob) -> None:
        self._send(job)

    def scout(self, wanted: _Wanted) -> None:
        """Let it compare a stretch."""
        self.job = wanted
        self._send(wanted.job)

    def end(self) -> None:
        self._close(self._process.stdin)  # then it removes its files in shared memory, and ends

    def close(self) -> int:
        try:
            code = self._process.wait(_LEAVING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._listener.join()
        self._close(self._process.stdin)
        self._close(self._process.stdout)
        return code

    def _close(self, pipe: IO[bytes] | None) -> None:
        with suppress(OSError):
            if pipe is not None:
                pipe.close()

    def _send(self, what: Start | SegmentJob | ScoutJob) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):  # it has ended, which `_listen` reports
            self._process.stdin.write(pickle.dumps(what))
            self._process.stdin.flush()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        while True:
            try:
                message = pickle.load(self._process.stdout)
            except (
                EOFError,
                OSError,
                ValueError,
                pickle.UnpicklingError,
            ):  # it has ended; killed, perhaps within a message
                self._tell(self, None)
                return
            self._tell(self, message)


class _Here(_Worker):
    """A thread of this process, for one segment."""

    lasts = False

    def __init__(self, tell: Callable[[_Worker, Message | None], None], task: FilmTask, client: EdenClient) -> None:
        super().__init__(tell)
        self._task, self._client = task, client
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._make, name="first segment", daemon=True)

    def _begin(self, job: SegmentJob) -> None:
        self._thread.start()

    def end(self) -> None:
        self._stop.set()

    def close(self) -> int:
        self._thread.join(_PATIENCE)
        return 0

    def _make(self) -> None:
        assert isinstance(self.job, SegmentJob)
        times = StageTimes()
        maker = SegmentMaker(
            self._task, self._client, lambda what: self._tell(self, Wrote(what, times.taken())), times, self._stop
        )
        try:
            message: Message = Finished(maker.make(self.job), {})  # this client's traffic is counted as it comes
        except Exception as error:
            message = Failed(error)
        finally:
            maker.close()
        self._tell(self, message)


@dataclass(frozen=True)
class LocalProcesses:
    """Makes segments by `count` processes of this machine, of which this one makes only the first segment.

    connect   makes the client in each of the others; it can be pickled
    client    the client of this process
    """

    count: int
    connect: Callable[[], EdenClient]
    client: EdenClient
    _events: _Events = field(default_factory=queue.SimpleQueue)
    _asked: set[Future[list[Scouted]]] = field(default_factory=set)
    _over: threading.Event = field(default_factory=threading.Event)

    @property
    def at_once(self) -> int:
        return self.count

    def run(self, task: FilmTask, jobs: Iterator[SegmentJob], observer: Observer) -> None:
        """Make all segments. Raises MediaError, EdenError or OSError."""
        run = _Run(Start(task, self.connect), self.client, self.count, jobs, observer, self._events)
        try:
            run.until_all_is_done()
        finally:
            self._over.set()
            for future in list(self._asked):  # releases the planner, which may wait for it
                future.cancel()
            run.end()

    def scout(self, job: ScoutJob) -> Future[list[Scouted]]:
        """Have a stretch compared by one of the other processes while `run` goes on. Thread-safe."""
        future = Future[list[Scouted]]()
        self._asked.add(future)
        future.add_done_callback(self._asked.discard)  # the results of a whole film would need much memory
        self._events.put(_Wanted(job, future))
        if self._over.is_set():
            future.cancel()
        return future


@dataclass(frozen=True)
class _Wanted:
    """A stretch that the planner wants to be compared."""

    job: ScoutJob
    future: Future[list[Scouted]]

    def tell(self, found: list[Scouted] | None) -> None:
        if found is None:
            self.future.set_exception(Doubtful())
        else:
            self.future.set_result(found)


_Events = queue.SimpleQueue[Planned[SegmentJob] | _Wanted | tuple[_Worker, Message | None]]


@dataclass
class _Run:
    start: Start
    client: EdenClient
    count: int
    jobs: Iterator[SegmentJob]
    observer: Observer
    _events: _Events
    _workers: list[_Worker] = field(default_factory=list)
    _waiting: list[SegmentJob] = field(default_factory=list)
    _stretches: list[_Wanted] = field(default_factory=list)
    _tries: dict[int, int] = field(default_factory=dict)
    _most_ready: int = 0
    _begun: bool = False
    _all_planned: bool = False

    def __post_init__(self) -> None:
        self._plan = PlanAhead(self.jobs, self._events.put, 2 * self.count)

    def until_all_is_done(self) -> None:
        while not self._all_planned or self._waiting or any(isinstance(each.job, SegmentJob) for each in self._workers):
            match self._events.get():
                case Planned(job):
                    if isinstance(job, BaseException):
                        raise job
                    self._all_planned = job is None
                    if job is not None:
                        self._waiting.append(job)
                case _Wanted() as wanted:
                    self._stretches.append(wanted)
                case worker, None:
                    self._lost(worker)
                case worker, message:
                    self._told(worker, message)
            self._hand_out()

    def end(self) -> None:
        self._plan.stop()
        for worker in self._workers:
            worker.end()
        for worker in self._workers:
            worker.close()

    def _told(self, worker: _Worker, message: Message) -> None:
        match message:
            case Ready():
                worker.ready = True
                if sum(each.ready for each in self._workers) > self._most_ready:
                    self._most_ready += 1
                    self.observer.joined()
            case Wrote(what, times):
                worker.frames += what.frames
                self.observer.wrote(what, times)
            case Trouble(error):
                self.observer.trouble(error)
            case Saw(found):
                assert isinstance(worker.job, _Wanted)
                worker.job.tell(found)
                worker.job = None
            case Finished(entry, traffic, spans):
                if self.client.trace:
                    self.client.trace.add(spans)
                worker.job, worker.frames, worker.made = None, 0, entry.number
                if not worker.lasts:
                    self._workers.remove(worker)
                self._plan.make_room()
                self.observer.finished(entry, traffic)
            case Failed(error):
                raise error

    def _lost(self, worker: _Worker) -> None:
        """A process has ended unasked: have its work done by another. Raises MediaError: too often for one segment."""
        self._workers.remove(worker)
        code = worker.close()
        job = worker.job
        if job is None:
            return  # another is started when there is something to do
        if isinstance(job, _Wanted):
            job.tell(None)
            return
        self._tries[job.number] = self._tries.get(job.number, 0) + 1
        if self._tries[job.number] >= TRIES:
            raise MediaError(f"the process that made segment {job.number} ended {TRIES} times ({_ended(code)})")
        self.observer.lost(worker.frames)
        self.observer.note(f"a process that made a segment was lost ({_ended(code)}); another makes it")
        self._waiting.insert(0, job)

    def _hand_out(self) -> None:
        while self._stretches:
            process = next((each for each in self._workers if each.job is None and isinstance(each, _Process)), None)
            if process is None and len(self._workers) < self.count:
                process = self._another()
            if process is None:
                break
            process.scout(self._stretches.pop(0))
        while self._waiting:
            idle = next((each for each in self._workers if each.job is None), None)
            if idle is None and len(self._workers) < self.count:
                idle = self._another() if self._begun else self._first()
            if idle is None:
                return
            idle.give(self._waiting.pop(self._next_for(idle)))

    def _next_for(self, worker: _Worker) -> int:
        numbers = [job.number for job in self._waiting]
        in_hand = {each.job.number for each in self._workers if isinstance(each.job, SegmentJob)}
        return next_for(worker.made, numbers, in_hand, self.count)

    def _first(self) -> _Worker:
        self._begun = True
        worker = _Here(self._tell, self.start.task, self.client)
        self._workers.append(worker)
        return worker

    def _another(self) -> _Process:
        worker = _Process(self._tell, self.start)
        self._workers.append(worker)
        return worker

    def _tell(self, worker: _Worker, message: Message | None) -> None:
        self._events.put((worker, message))


def next_for(made: int | None, waiting: Sequence[int], in_hand: Collection[int], count: int) -> int:
    """The index in `waiting` of the segment that a worker makes next.

    made      the last segment that it has finished; None: there is none
    waiting   segments that wait
    in_hand   segments that are being made
    count     number of workers

    It is the segment after `made`, if that waits: the worker decodes on from where it is, rather than from the key
    frame before. For the same reason it is none that follows one in hand, as long as more than `count` segments wait.
    """
    if made is not None and made + 1 in waiting:
        return waiting.index(made + 1)
    if len(waiting) <= count:
        return 0
    return next((place for place, number in enumerate(waiting) if number - 1 not in in_hand), 0)


def _ended(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
