"""Makes the segments of films on a Ray cluster: each segment is a task, or a call of an actor that holds an engine.

This process plans a film, keeps its journal and joins it. Ray decides on which node a segment is made, and where again
if a node is lost. A node needs this package, but not the source or the result, unless `shared` is set.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from eden_client.film.cluster.engine import EngineChoice, EngineHolder
from eden_client.film.cluster.excerpts import (
    Excerpts,
    FileExcerpt,
    FileExcerpts,
    ImageExcerpts,
    Range,
    StretchExcerpts,
)
from eden_client.film.cluster.node_task import (
    Connect,
    Made,
    NeedsAll,
    NotMade,
    Sent,
    SentFilm,
    SharedFile,
    WholeFile,
    look_at,
    make_segment,
    software,
)
from eden_client.film.executor import Observer
from eden_client.film.jobs import SegmentJob
from eden_client.film.order import Order
from eden_client.film.plan.scouting import Scouted, ScoutJob
from eden_client.film.plan_ahead import PlanAhead, Planned
from eden_client.film.read.film import Film
from eden_client.film.read.film_file import FilmFile
from eden_client.film.read.image_film import ImageFilm
from eden_client.film.read.intact import Doubtful
from eden_client.film.segment_maker import FilmTask
from eden_client.trace.recording import Trace
from media import MediaError

AUTO = "auto"
"""As an address: the cluster that this machine is a node of."""
LOST = 8
"""How often a segment is begun again whose process or node was lost. After more, the segment may be the cause."""
_REACHED = 5.0
"""Seconds within which a cluster's address has to answer."""
_SETTINGS = 4
"""The type of HTTP/2's SETTINGS frame."""
_WATCH = 2.0
"""Seconds between two checks of which nodes there are."""
_PIECE = 32 << 20
"""Bytes per object that holds a piece of a whole file."""
_NAMESPACE = "eden"
"""Ray's namespace for the names of engines."""


class RayCluster:
    """Connects this process to a cluster.

    address   host:port of its head, if this machine is a node of it; AUTO; or ray://host:port
    connect   makes a segment's client on a node; not used with an engine
    engine    draws frames on the nodes instead of a server; None: servers do
    shared    a folder, or an address for fsspec, where every node finds the film's file by its name; None: it is sent
    Raises ValueError: Ray is not installed, or there is no such cluster.
    """

    def __init__(
        self, address: str, connect: Connect, engine: EngineChoice | None = None, shared: str | None = None
    ) -> None:
        self._ray = _connected(address)
        self.connect, self.shared = connect, shared
        self.stopped = threading.Event()
        """Once it is set, all films end with KeyboardInterrupt."""
        self._engines = _Engines(self._ray, engine) if engine else None
        # Passed by module and name, so that a node imports it from its own installation.
        self._task = self._ray.remote(num_cpus=1, max_retries=LOST, scheduling_strategy="SPREAD")(_make)
        # Scouts reserve no CPU: engines may hold all, and planning waits for scouts.
        self._scouting = self._ray.remote(num_cpus=0, max_retries=LOST, scheduling_strategy="SPREAD")(look_at)

    @property
    def side_by_side(self) -> int:
        """The most segments that one node makes at once."""
        return max((_processors(node) for node in self.nodes()), default=1)

    def nodes(self) -> list[dict[str, Any]]:
        """Ray's descriptions of the nodes that are alive."""
        return [node for node in self._ray.nodes() if node["Alive"]]

    def slots(self) -> int:
        """Segments that all nodes together make at once."""
        return max(1, self._engines.slots() if self._engines else sum(map(_processors, self.nodes())))

    def put(self, value: Any) -> Any:
        """Put an object into the cluster; returns a reference by which any node can fetch it."""
        return self._ray.put(value)

    def make(self, film: Any, head: Any, job: SegmentJob, sent: Sent, tell: Callable[[Any], None]) -> Any:
        """Start making a segment, and call `tell` with its result or exception. Returns a handle for `cancel`."""
        task = self._engines.least_busy() if self._engines else self._task
        made = task.remote(film, head, job, sent)

        def done(future: Any) -> None:
            if self._engines:
                self._engines.answered(task, future.exception())
            tell(future.exception() or future.result())

        made.future().add_done_callback(done)
        return made

    def look_at(self, film: Any, job: ScoutJob, sent: FileExcerpt) -> Future[list[Scouted]]:
        """Start comparing a stretch of a film. `film`: a reference to the first argument of `node_task.look_at`."""
        future: Future[list[Scouted]] = self._scouting.remote(film, job, sent).future()
        return future

    def cancel(self, made: Any) -> None:
        """Cancel a segment that `make` started."""
        with suppress(Exception):  # the segment is done, or the connection to Ray is lost
            self._ray.cancel(made)

    def executor(self, film: Film, order: Order, trace: Trace | None) -> FilmOnCluster:
        """An executor for a film. Raises MediaError: the film is of a kind that cannot be sent in parts."""
        return FilmOnCluster(self, film, order, trace)

    def lost(self, error: BaseException) -> bool:
        """Whether an error means that an engine was lost: Ray does not repeat its calls elsewhere."""
        return isinstance(error, self._ray.exceptions.RayActorError)

    def close(self) -> None:
        """Disconnect. Segments that are still being made are dropped."""
        with _as_it_was(signal.SIGTERM):  # Ray resets its handler to the system's default
            self._ray.shutdown()


class FilmOnCluster:
    """The executor that makes the segments of one film on a cluster."""

    def __init__(self, cluster: RayCluster, film: Film, order: Order, trace: Trace | None) -> None:
        self._cluster, self._film, self._order, self._trace = cluster, film, order, trace
        self._known = film.known() if isinstance(film, FilmFile) else None
        self._shared: SharedFile | None = None
        self._stretches: StretchExcerpts | None = None
        self._scouted: Any = None
        if isinstance(film, FilmFile) and film.container and self._known:
            self._excerpts: Excerpts = FileExcerpts(film.container, self._known, order.source_fps, order.strict)
            if cluster.shared:
                self._shared = SharedFile(f"{cluster.shared.rstrip('/')}/{film.container.name}")
        elif isinstance(film, ImageFilm) and not cluster.shared:
            self._excerpts = ImageExcerpts(film)
        else:
            raise MediaError(f"{film.name}: nodes cannot be sent parts of such a film; use a video file")

    @property
    def at_once(self) -> int:
        return self._cluster.slots()

    def scout(self, job: ScoutJob) -> Future[list[Scouted]]:
        """Have a node compare a stretch; it is sent the bytes of that stretch."""
        assert self._known is not None
        if self._stretches is None:
            self._stretches = StretchExcerpts(job.path, self._known)
        try:
            sent = self._stretches.cut(job)
        except (Doubtful, OSError) as error:
            failed = Future[list[Scouted]]()
            failed.set_exception(error)
            return failed
        if self._scouted is None:
            self._scouted = self._cluster.put((self._known, self._stretches.head))
        return self._cluster.look_at(self._scouted, job, sent)

    def run(self, task: FilmTask, jobs: Iterator[SegmentJob], observer: Observer) -> None:
        """Make all segments. Raises MediaError, EdenError or OSError."""
        order = self._order
        sent = SentFilm(task, self._known, self._film.look, order.source_fps, order.strict, software())
        run = _Run(self._cluster, self._excerpts, self._shared, sent, jobs, observer, self._trace)
        try:
            run.until_all_is_done()
        finally:
            run.end()


@dataclass(frozen=True)
class _Answered:
    """The result of a segment, or its exception."""

    number: int
    answer: Made | NotMade | NeedsAll | BaseException


@dataclass
class _Open:
    """A segment that is being made."""

    job: SegmentJob
    made: Any
    lost: int = 0


@dataclass
class _Run:
    cluster: RayCluster
    excerpts: Excerpts
    shared: SharedFile | None
    film: SentFilm
    jobs: Iterator[SegmentJob]
    observer: Observer
    trace: Trace | None
    _events: queue.SimpleQueue[Planned[tuple[SegmentJob, Sent]] | _Answered] = field(default_factory=queue.SimpleQueue)
    _open: dict[int, _Open] = field(default_factory=dict)
    _slots: int = 0
    _joined: int = 0
    _nodes: dict[str, str] = field(default_factory=dict)
    _looked: float = 0.0
    _whole: WholeFile | None = None
    _all_planned: bool = False

    def __post_init__(self) -> None:
        self._film = self.cluster.put((self.film, self.cluster.connect))
        self._head: Any = None
        self._plan = PlanAhead(((job, self._taken(job)) for job in self.jobs), self._events.put, room=0)

    def until_all_is_done(self) -> None:
        self._look()
        while not (self._all_planned and not self._open):
            if self.cluster.stopped.is_set():
                raise KeyboardInterrupt
            with suppress(queue.Empty):
                match self._events.get(timeout=_WATCH):
                    case Planned(BaseException() as error):
                        raise error
                    case Planned(None):
                        self._all_planned = True
                    case Planned((job, sent)):
                        self._begin(job, sent)
                    case _Answered(number, answer):
                        self._answered(self._open.pop(number), answer)
            if time.monotonic() - self._looked >= _WATCH:
                self._look()

    def end(self) -> None:
        self._plan.stop()
        for each in self._open.values():
            self.cluster.cancel(each.made)

    def _taken(self, job: SegmentJob) -> Sent:
        """What is sent with a job."""
        sent: Sent | None = self.shared or self._whole or self.excerpts.cut(job)
        if self._head is None:
            self._head = self.cluster.put(self.excerpts.head)
        return sent or self._all()

    def _all(self) -> WholeFile:
        """All of the film's file. Once it had to be sent, it is used for all later segments too."""
        if self._whole is None:
            with open(self.film.task.source.name, "rb") as file:  # noqa: PTH123  (INPUT, as it is named)
                pieces = []
                while piece := file.read(_PIECE):
                    pieces.append(self.cluster.put(piece))
            self._whole = WholeFile(_PIECE, pieces)
        return self._whole

    def _begin(self, job: SegmentJob, sent: Sent, lost: int = 0) -> None:
        def tell(answer: Any) -> None:
            self._events.put(_Answered(job.number, answer))

        self._open[job.number] = _Open(job, self.cluster.make(self._film, self._head, job, sent, tell), lost)
        while self._joined < min(len(self._open), self._slots):
            self._joined += 1
            self.observer.joined()

    def _answered(self, segment: _Open, answer: Made | NotMade | NeedsAll | BaseException) -> None:
        match answer:
            case Made():
                self._made(answer)
            case NotMade(error):
                raise error
            case NeedsAll():
                self._begin(segment.job, self._all(), segment.lost)
            case BaseException() if self.cluster.lost(answer) and segment.lost < LOST:
                self._begin(segment.job, self._taken(segment.job), segment.lost + 1)
            case BaseException():
                raise MediaError(f"segment {segment.job.number}: {_told(answer)}") from answer

    def _made(self, made: Made) -> None:
        folder = self.film.task.sinks.folder
        for name, data in made.files.items():
            (folder / name).write_bytes(data)
        for trouble in made.troubles:
            self.observer.trouble(trouble)
        if self.trace:
            self.trace.add(made.spans)
        self.observer.wrote(made.what, made.times)
        self.observer.finished(made.entry, dict(made.traffic))
        self._plan.make_room()

    def _look(self) -> None:
        """Report nodes that joined or were lost, and let the planner keep ahead of all nodes."""
        self._looked = time.monotonic()
        nodes = {
            node["NodeID"]: f"{node['NodeManagerHostname']}, {node['NodeManagerAddress']}"
            for node in self.cluster.nodes()
        }
        for node in self._nodes.keys() - nodes.keys():
            self.observer.note(f"a node was lost ({self._nodes[node]}); Ray makes its segments on others")
        for node in nodes.keys() - self._nodes.keys() if self._nodes else ():
            self.observer.note(f"a node has joined ({nodes[node]})")
        self._nodes = nodes
        slots = self.cluster.slots()
        if slots > self._slots:
            self._plan.make_room(2 * (slots - self._slots))
            self._slots = slots


class _Engines:
    """Actors that hold an engine each: one per GPU, or per node where no node has a GPU. Thread-safe.

    Commands with the same engine share the actors, by name. An actor ends with the command that started it.
    """

    def __init__(self, ray: Any, choice: EngineChoice) -> None:
        self._ray, self._choice, self._lock = ray, choice, threading.Lock()
        self._open: dict[Any, int] = {}
        """unfinished calls of this command, by actor"""
        self._numbers: dict[Any, int] = {}
        """the numbers in the actors' names"""
        self._ready = set[Any]()
        self._ended = queue.SimpleQueue[tuple[Any, bool]]()
        """actors whose call has ended, and whether the actor was lost"""

    def slots(self) -> int:
        count, lanes, _ = self._wanted()
        return count * lanes

    def least_busy(self) -> Any:
        """The method `make` of the least busy actor. Starts another actor where there is room for one."""
        with self._lock:
            self._count_ended()
            count, lanes, gpus = self._wanted()
            while len(self._open) < count:
                number = min(set(range(count)) - set(self._numbers.values()))
                options = {"num_cpus": lanes, "num_gpus": int(gpus), "max_concurrency": lanes}
                shared = {"name": f"{number} {self._choice.name}", "namespace": _NAMESPACE, "get_if_exists": True}
                holder = self._ray.remote(**options, **shared, scheduling_strategy="SPREAD")(EngineHolder)
                actor = holder.remote(self._choice)
                make = actor.make  # a new object at each access
                self._open[make], self._numbers[make] = 0, number
                self._note_ready(actor, make)
            # Ray may take long to start an actor: calls of the others do not wait for that.
            method = min(self._open, key=lambda make: (make not in self._ready, self._open[make]))
            self._open[method] += 1
            return method

    def answered(self, method: Any, error: BaseException | None) -> None:
        """A call has ended. Never blocks: Ray's own thread calls this, and `least_busy` waits for that thread."""
        self._ended.put((method, isinstance(error, self._ray.exceptions.RayActorError)))

    def _count_ended(self) -> None:
        with suppress(queue.Empty):
            while True:
                method, lost = self._ended.get_nowait()
                if lost:
                    self._open.pop(method, None)
                    self._numbers.pop(method, None)
                    self._ready.discard(method)
                elif method in self._open:
                    self._open[method] -= 1

    def _note_ready(self, actor: Any, make: Any) -> None:
        def ready(future: Any) -> None:
            if future.exception() is None:
                self._ready.add(make)

        actor.ready.remote().future().add_done_callback(ready)

    def _wanted(self) -> tuple[int, int, bool]:
        """The number of actors, the segments that each makes at once, and whether each has a GPU."""
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        with_gpus = [node for node in nodes if node.get("GPU", 0) >= 1]
        if not with_gpus:
            return max(1, sum(node.get("CPU", 0) >= 1 for node in nodes)), 1, False
        lanes = min(int(node.get("CPU", 0) // node["GPU"]) for node in with_gpus)
        return int(sum(node["GPU"] for node in with_gpus)), max(1, min(lanes, self._choice.lanes)), True


def _make(film: tuple[SentFilm, Connect], head: Sequence[Range], job: SegmentJob, sent: Sent) -> Any:
    """The task that makes a segment."""
    import ray

    return make_segment(film[0], head, job, sent, film[1], ray.get)


def _connected(address: str) -> Any:
    """The module `ray`, connected to the cluster. Raises ValueError: it is not installed, or there is no cluster."""
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ValueError(
            f"--ray needs {error.name}: pip install 'path/to/checkout/packaging/eden-client[cluster]', or "
            "beside the server 'path/to/checkout[cluster]'"
        ) from error
    if address != AUTO:
        _check_reached(address.removeprefix("ray://"))
    try:
        with _as_it_was(signal.SIGTERM):  # Ray sets a handler of its own
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = "on this machine" if address == AUTO else f"at {address}"
        raise ValueError(f"no Ray cluster {where} that can be used (docs/ray.md): {_told(error)}") from error
    return ray


@contextmanager
def _as_it_was(number: signal.Signals) -> Iterator[None]:
    """Restore a signal's handler after the context. Does nothing outside the main thread, which alone can."""
    handler = signal.getsignal(number)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(number, handler)


def _check_reached(address: str) -> None:
    """Raise ValueError if no gRPC server listens at an address: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"--ray {address}: neither {AUTO} nor host:port")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _REACHED) as connection:
            if os.environ.get("RAY_USE_TLS", "0").lower() in ("0", "false") and not _speaks_http2(connection):
                raise ValueError(f"no Ray cluster at {address}: something else listens there")
    except OSError as error:
        raise ValueError(f"no Ray cluster at {address}: {error.strerror or error}") from error


def _speaks_http2(connection: socket.socket) -> bool:
    """Whether the other side speaks HTTP/2, as gRPC does: its first frame is SETTINGS (RFC 9113, 3.4 and 6.5)."""
    no_settings = bytes([0, 0, 0, _SETTINGS, 0, 0, 0, 0, 0])
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + no_settings)
    came, deadline = b"", time.monotonic() + _REACHED
    while len(came) < len(no_settings) and time.monotonic() < deadline:
        piece = connection.recv(len(no_settings) - len(came))
        if not piece:
            return False
        came += piece
    return came[3:4] == bytes([_SETTINGS])


def _processors(node: dict[str, Any]) -> int:
    return int(node["Resources"].get("CPU", 0))


def _told(error: BaseException) -> str:
    """The line of an error that says what is wrong: Ray's errors are long, those of a task whole tracebacks."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return lines[-1] if "Traceback" in str(error) or lines[0].startswith("\x1b") else lines[0]
