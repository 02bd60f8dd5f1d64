"""Reads pictures, asks for frames and gives them out in order, all at once, with a bound on what is held."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache, partial
from typing import Any, TypeVar

import numpy as np

from eden_client.api.client import EdenClient
from eden_client.film.plan.timeline import Gap
from eden_client.film.read.film import Picture
from eden_client.film.stages import StageTimes
from eden_client.film.synthesis import LEFT, RIGHT, Between, synthesise
from eden_client.film.write.frame_converter import FrameConverter
from eden_client.trace.recording import UNTRACED, Step
from media import Frame

T = TypeVar("T")


@dataclass(frozen=True)
class Made:
    """A frame of the result. `pixels`: RGB or planes; None where it is the gap's own left or right picture."""

    gap: Gap
    number: int
    """its index in the result, from 0"""
    position: Fraction
    time: Fraction
    pixels: Frame | None = None
    alpha: np.ndarray | None = None


@dataclass(frozen=True)
class _Drawn:
    """A frame that the server has drawn, and its transparency; None where the film has none."""

    pixels: Frame
    alpha: np.ndarray | None


@dataclass
class _Run:
    """Neighbouring gaps that one thread asks for, and their frames so far, in order."""

    gaps: list[Gap]
    answers: queue.SimpleQueue[_Drawn | BaseException] = field(default_factory=queue.SimpleQueue)


PATIENCE = 10.0
"""Seconds to wait for the end of the reading thread."""


FrameOf = Callable[[Picture], Frame]


def pixels_of(picture: Picture) -> Frame:
    """A picture as RGB [H, W, 3] uint8."""
    return picture.pixels


def asking(client: EdenClient, planes: FrameConverter | None, within: Step = UNTRACED) -> tuple[Between, FrameOf]:
    """The functions `between` and `frame_of` of a `Pipeline` that asks `client`.

    planes   converts pictures to the planes that are sent; None: RGB is sent
    within   the step of a trace that the calls are part of

    A picture belongs to two gaps, which different calls may ask for: it is converted once.
    """
    known: dict[str, Any] = {"within": within} if within.recorded else {}
    if planes is None:
        return partial(client.between, **known), pixels_of
    return partial(client.between, yuv=planes.yuv, **known), lru_cache(2 * client.window)(planes.planes_of)


class Stopped(Exception):
    """The pipeline was closed while this thread was at work."""


class Pipeline:
    """The frames of a film's gaps, drawn by several calls at once and given out in order.

    between   asks the server for the frames between K frames
    window    runs at once: read, but not yet given out; a run is as many gaps as fit into a clip
    clip      frames sent per call
    at_first  calls at once at the beginning; each answer adds one, up to `window`, so that the first frames do not
              queue behind later ones
    times     adds up the seconds of reading and asking
    frame_of  converts a picture to the frame that is sent
    """

    def __init__(
        self,
        gaps: Iterable[Gap],
        between: Between,
        window: int,
        clip: int,
        times: StageTimes,
        at_first: int = 1,
        frame_of: FrameOf = pixels_of,
    ) -> None:
        self._gaps, self._between, self._clip, self._times = gaps, between, clip, times
        self._frame_of = frame_of
        self._window, self._size = window, clip - 1
        self._asking, self._at_first, self._counting = 0, at_first, threading.Lock()
        self._room = threading.Semaphore(window)
        self._runs: queue.SimpleQueue[_Run | BaseException | None] = queue.SimpleQueue()
        self._open: queue.SimpleQueue[_Run | None] = queue.SimpleQueue()
        self._stop = threading.Event()

    def frames(self) -> Generator[tuple[Gap, Iterator[Made]], None, None]:
        """Each gap and its frames, in order, each as soon as it is there. Raises what a thread raises.

        Take a gap's frames before you take the next gap: the rest of them is dropped.
        """
        self._times.begin("reading")
        reader = _started(self._read, "read")
        for _ in range(self._at_first):
            self._ask_more()
        try:
            while (run := _raised(self._runs.get())) is not None:
                for gap in run.gaps:
                    made = _made(gap, run.answers)
                    yield gap, made
                    for _ in made:
                        pass
                self._room.release()
        finally:
            self._stop.set()
            self._room.release()  # wakes a reader that waits for room, so that it sees the stop
            for _ in range(self._window):
                self._open.put(None)
            reader.join(PATIENCE)  # it reads the film, which is closed next; the other threads end when their calls do

    def _read(self) -> None:
        try:
            for run in self._in_runs():
                self._room.acquire()
                if self._stop.is_set():
                    return
                self._runs.put(run)
                self._open.put(run)
            self._runs.put(None)
        except BaseException as error:
            self._runs.put(error)

    def _in_runs(self) -> Iterator[_Run]:
        gaps, pending = iter(self._gaps), list[Gap]()
        while not self._stop.is_set():
            with self._times.at_work("reading"):
                gap = next(gaps, None)
            if gap is not None:
                pending.append(gap)
            if pending and (gap is None or len(pending) == self._size):
                yield _Run(pending)
                pending = []
            if gap is None:
                return

    def _ask_more(self) -> None:
        """Start another thread that asks, unless there are enough."""
        with self._counting:
            if self._asking < self._window:
                self._asking += 1
                self._times.begin("server")
                _started(self._ask, "ask")

    def _ask(self) -> None:
        while (run := self._open.get()) is not None and not self._stop.is_set():
            try:
                for drawn in _drawn(run.gaps, self._asked, self._clip, self._frame_of):
                    run.answers.put(drawn)
            except BaseException as error:
                run.answers.put(error)

    def _asked(self, frames: Sequence[Frame]) -> Iterator[Frame]:
        answers = iter(self._between(frames))
        while True:
            with self._times.at_work("server"):
                frame = next(answers, None)
            if frame is None:
                return
            if self._stop.is_set():
                raise Stopped
            self._ask_more()
            yield frame


def _made(gap: Gap, answers: queue.SimpleQueue[_Drawn | BaseException]) -> Iterator[Made]:
    """The frames of a gap, in order; its own left and right picture wait for no answer."""
    for number, shown in enumerate(gap.shown, gap.before):
        if shown.position in (LEFT, RIGHT):
            yield Made(gap, number, shown.position, shown.time)
        else:
            drawn = _raised(answers.get())
            yield Made(gap, number, shown.position, shown.time, drawn.pixels, drawn.alpha)


def _drawn(gaps: list[Gap], between: Between, clip: int, frame_of: FrameOf) -> Iterator[_Drawn]:
    if not any(gap.missing for gap in gaps):  # nothing to ask for: convert no picture
        return
    with_alpha = any(side.alpha is not None for gap in gaps for side in (gap.left, gap.right or gap.left))
    sides = [(frame_of(gap.left), frame_of(gap.right or gap.left)) for gap in gaps]
    colours = synthesise(gaps, sides, between, clip)
    if not with_alpha:
        yield from (_Drawn(pixels, None) for pixels in colours)
        return
    # Transparency is sent to the model as a grey picture of its own.
    greys = [(_grey(gap.left), _grey(gap.right or gap.left)) for gap in gaps]
    for pixels, grey in zip(colours, synthesise(gaps, greys, between, clip), strict=True):
        yield _Drawn(pixels, np.rint(grey.mean(axis=2)).astype(np.uint8))


def _grey(picture: Picture) -> Frame:
    opaque = np.full(picture.pixels.shape[:2], 255, np.uint8)
    return np.repeat((opaque if picture.alpha is None else picture.alpha)[..., None], 3, axis=2)


def _started(work: Callable[[], None], name: str) -> threading.Thread:
    """A daemon thread: a call that hangs must not keep an interrupted program from ending."""
    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    return thread


def _raised(answer: T | BaseException) -> T:
    if isinstance(answer, BaseException):
        raise answer
    return answer
