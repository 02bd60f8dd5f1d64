"""A whole film: read, planned, asked for, written, all at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from eden_client.api.client import EdenClient
from eden_client.api.errors import ServerTrouble
from eden_client.film.compare import compared, liveliest, look_of, side_by_side
from eden_client.film.executors import LocalProcesses
from eden_client.film.jobs import Planner, SegmentJob
from eden_client.film.machine import cores
from eden_client.film.order import Interrupted, Order, Report, Summary
from eden_client.film.pipeline import Made, Pipeline
from eden_client.film.plan.segmentation import Segmentation
from eden_client.film.plan.timeline import LONGEST_HOLD, Clock, Constant, Gap, Multiply, Relation, plan
from eden_client.film.plan.transitions import classify_transitions
from eden_client.film.read.film import Film, Picture
from eden_client.film.read.film_file import FilmFile
from eden_client.film.read.image_film import ImageFilm
from eden_client.film.read.rotated_film import RotatedFilm
from eden_client.film.read.sources import PIPE, identity, open_film
from eden_client.film.resume_journal import Entry
from eden_client.film.segment_maker import FilmTask
from eden_client.film.write.budget import Budget
from eden_client.film.write.folder_result import FORMATS, FolderResult
from eden_client.film.write.results import Result, Timing, frame_of
from eden_client.film.write.segments import common_tick
from eden_client.film.write.targets import Kind, check_target, kind_of, open_result
from eden_client.film.write.video_result import VideoResult
from media import MediaError, encode_image

MANY_CORES = 4
"""From which on several processes make a film sooner than the threads of one."""
WORTH_IT = 192
"""Frames of the result that are worth starting processes for."""

JOURNAL_VERSION = 2
"""Of segments that go together: a run cannot go on with those of another."""


def interpolate_film(
    order: Order, client: EdenClient, report: Report, connect: Callable[[], EdenClient] | None = None
) -> Summary:
    """Make the film that `order` asks for.

    connect   makes such a client in another process: plain data; None keeps all work in this one
    Raises MediaError, JournalError, EdenError or OSError, and KeyboardInterrupt; those that come in the middle of the
    work have an `Interrupted` as their cause.
    """
    check_target(order)
    with open_film(order.source, order.source_fps, order.strict) as film:
        turned = film.look.rotation and (order.compare or kind_of(order.target) is not Kind.VIDEO)
        return _Run(order, client, report, RotatedFilm(film) if turned else film, connect).make()


def _rescued(result: Result) -> Interrupted:
    try:
        part = result.rescue()
    except MediaError:  # the error that led here is the one to tell
        part = None
    return Interrupted(part, result.frames)


class _Run:
    def __init__(
        self,
        order: Order,
        client: EdenClient,
        report: Report,
        film: Film,
        connect: Callable[[], EdenClient] | None,
    ) -> None:
        self._order, self._client, self._report, self._film = order, client, report, film
        self._summary = Summary(order.source, order.target)
        self._started, self._told = time.perf_counter(), 0
        self._look = look_of(film.look) if order.compare else film.look
        self._ratio = order.fps / film.look.rate if order.fps else Fraction(order.times)
        rate = film.look.rate * self._ratio
        self._timing = Timing(rate, self._tick(), 1 / rate)
        self._segments = Segmentation(self._ratio, order.clip, film.look.size)
        self._budget = Budget(order.memory, film.look.size, order.clip, client.window)
        self._connect = connect
        self._counting = threading.Lock()
        self._read_seconds, self._encode_seconds, self._written = 0.0, 0.0, 0

    def make(self) -> Summary:
        if self._order.compare and kind_of(self._order.target) is Kind.PICTURE:
            return self._compare_one()
        result, notes = open_result(
            self._order,
            self._film,
            self._look,
            self._timing,
            self._fingerprint(),
            self.wrote,
            self._budget.segments,
            self._budget.waiting,
        )
        try:
            self.tell(*notes)
            self._summary.resumed_at = self._written = result.frames
            expected = None if self._film.expected is None else round(self._film.expected * self._ratio)
            self._report.begin(self._film.name, expected, result.frames)
            try:
                if (count := self._processes()) > 1:
                    self._by_processes(result, count)
                else:
                    self._in_this_process(result)
                self.tell(*result.finish())
            except BaseException as error:
                raise error from _rescued(result)
        finally:
            result.close()
        self.tell()
        return self._finished(result.frames)

    def _processes(self) -> int:
        """How many make the film; 1: this one alone."""
        again = isinstance(self._film, FilmFile | ImageFilm) and self._order.source != PIPE
        if self._connect is None or not again or kind_of(self._order.target) is Kind.PIPE:
            return 1
        if self._order.processes:
            return self._order.processes
        expected = (self._film.expected or 0) * self._ratio
        return self._budget.processes if cores() >= MANY_CORES and expected >= WORTH_IT else 1

    def _in_this_process(self, result: Result) -> None:
        done = result.done
        gaps = (gap for gap in self._gaps(self._counted()) if self._segments.number(gap.index) not in done)
        pipeline = Pipeline(gaps, self._client.between, self._budget.window, self._order.clip)
        frames = pipeline.frames()
        try:
            self._write(compared(frames) if self._order.compare else frames, result)
        finally:
            frames.close()
            self._read_seconds = pipeline.read_seconds

    def _by_processes(self, result: Result, count: int) -> None:
        assert self._connect is not None
        assert isinstance(result, VideoResult | FolderResult)
        order = self._order
        window = max(1, self._client.window // count)
        source = order.source, identity(order.source), order.source_fps, order.strict
        task = FilmTask(*source, result.sinks, window, order.clip, order.compare)
        planner = Planner(self._segments, result.done)
        jobs = planner.jobs(self._gaps(planner.seen(self._counted())))
        LocalProcesses(count, self._connect).run(task, self._timed(jobs), _Hearer(self, result))

    def _timed(self, jobs: Iterator[SegmentJob]) -> Iterator[SegmentJob]:
        while True:
            begun = time.perf_counter()
            job = next(jobs, None)
            self._read_seconds += time.perf_counter() - begun
            if job is None:
                return
            yield job

    def _write(self, frames: Iterator[tuple[Gap, list[Made]]], result: Result) -> None:
        """Hand all frames to the result, segment by segment."""
        open_: int | None = None
        for gap, made in frames:
            open_ = self._segments.number(gap.index)
            for each in made:
                result.write(open_, frame_of(each))
            gap.left.release()
            if self._segments.ends_with(gap.index):
                result.end_segment(open_)
                open_ = None
        if open_ is not None:
            result.end_segment(open_)

    def wrote(self, seconds: float) -> None:
        """A frame is encoded."""
        with self._counting:
            self._summary.seconds.setdefault("to_first_frame", time.perf_counter() - self._started)
            self._encode_seconds += seconds
            self._written += 1
            self._report.progress(self._written)

    def lost(self, frames: int) -> None:
        """So many of them have to be made again."""
        with self._counting:
            self._written -= frames

    def _compare_one(self) -> Summary:
        """The pair with the most motion, as one picture."""
        gap = liveliest(self._gaps(self._counted()))
        if gap is None or gap.right is None:
            raise MediaError(f"{self._film.name}: nothing moves, there is nothing to compare")
        left, right = gap.left.pixels, gap.right.pixels
        blended = ((left.astype(int) + right + 1) // 2).astype(left.dtype)
        between = self._client.interpolate_pair(left, right)
        self._summary.seconds["to_first_frame"] = time.perf_counter() - self._started
        target = Path(self._order.target)
        data = encode_image(side_by_side([left, blended, between]), FORMATS[target.suffix.lower()], self._order.crf)
        place = target.resolve()
        fresh = place.with_name(place.name + ".new")
        try:
            fresh.write_bytes(data)
            fresh.replace(place)
        finally:
            fresh.unlink(missing_ok=True)
        return self._finished(1)

    def _gaps(self, pictures: Iterator[Picture]) -> Iterator[Gap]:
        order = self._order
        clock: Clock = Constant(order.fps) if order.fps else Multiply(order.times)
        own = order.times.bit_length() - 1
        retime = order.duplicates == "skip"
        depth = order.depth if order.fps else (own + LONGEST_HOLD.bit_length() - 1 if retime else own)
        film = classify_transitions(pictures, order.cuts, order.duplicates != "off")
        for gap in plan(film, clock, depth, 1 / self._film.look.rate, retime):
            if gap.relation is not Relation.MOTION:
                name = gap.relation.value
                self._summary.repeated[name] = self._summary.repeated.get(name, 0) + 1
            yield gap

    def _counted(self) -> Iterator[Picture]:
        for picture in self._film.pictures():
            picture.number = self._summary.frames_in
            self._summary.frames_in += 1
            yield picture
        if self._summary.frames_in < 2:
            raise MediaError(f"{self._film.name}: a single picture, and nothing to go between")

    def _tick(self) -> Fraction:
        """Of which every time stamp of the result is a multiple."""
        film, order = self._film, self._order
        if order.fps:
            return common_tick([1 / order.fps, *film.ticks])
        return common_tick([tick / order.times for tick in (1 / film.look.rate, *film.ticks)])

    def _fingerprint(self) -> dict[str, Any]:
        """What decides how the result looks, by the option's name."""
        told: dict[str, Any] = {
            f"--{name.replace('_', '-')}": value if isinstance(value, int | float | None) else str(value)
            for name, value in asdict(self._order).items()
            if name not in ("source", "target", "strict", "resume", "overwrite", "memory", "processes")
        }
        told["version of eden-interpolate"] = JOURNAL_VERSION
        return told | {"INPUT": identity(self._order.source), "--seed": self._client.seed}

    def tell(self, *notes: str) -> None:
        """Pass on these notes, and what the film has to say since the last time."""
        of_film = self._film.warnings[self._told :]
        self._told += len(of_film)
        for note in (*of_film, *notes):
            self._summary.warnings.append(note)
            self._report.note(note)

    def _finished(self, frames: int) -> Summary:
        traffic = self._client.traffic.counts()
        self._summary.frames_out = frames
        self._summary.seconds |= {
            "total": time.perf_counter() - self._started,
            "decode": self._read_seconds,
            "send": traffic.pop("send_seconds"),
            "server": traffic.pop("server_seconds"),
            "encode": self._encode_seconds,
        }
        self._summary.traffic = traffic
        return self._summary

    def trouble(self, error: ServerTrouble) -> None:
        """Another process tries a call again."""
        if self._client.on_trouble:
            self._client.on_trouble(error)

    def add_traffic(self, counts: dict[str, float]) -> None:
        """What another process has sent and received."""
        self._client.traffic.add(**counts)


@dataclass(frozen=True)
class _Hearer:
    """Takes down what other processes have made."""

    run: _Run
    result: Result

    def finished(self, entry: Entry, traffic: dict[str, float]) -> None:
        self.run.add_traffic(traffic)
        self.result.record(entry)

    def wrote(self, seconds: float) -> None:
        self.run.wrote(seconds)

    def lost(self, frames: int) -> None:
        self.run.lost(frames)

    def trouble(self, error: ServerTrouble) -> None:
        self.run.trouble(error)

    def note(self, text: str) -> None:
        self.run.tell(text)
