"""Runs the whole interpolation of a film: reading, planning, asking and writing, all at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

from eden_client.api.client import EdenClient
from eden_client.api.errors import ServerTrouble
from eden_client.film.compare import compared, liveliest_compared, look_of
from eden_client.film.executor import Cluster, Executor
from eden_client.film.jobs import Planner, SegmentJob
from eden_client.film.local_processes import LocalProcesses
from eden_client.film.order import Interrupted, Order, Report, Summary
from eden_client.film.pipeline import Made, Pipeline, asking
from eden_client.film.plan import differences
from eden_client.film.plan.scouting import Scout, scouted_steps
from eden_client.film.plan.segmentation import Segmentation
from eden_client.film.plan.timeline import LONGEST_HOLD, Clock, Constant, Gap, Multiply, Relation, plan
from eden_client.film.plan.transitions import classified
from eden_client.film.read.film import Film, Picture
from eden_client.film.read.film_file import FilmFile
from eden_client.film.read.film_part import FilmPart, SlowFilm
from eden_client.film.read.image_film import ImageFilm
from eden_client.film.read.read_ahead import ReadAhead
from eden_client.film.read.rotated_film import RotatedFilm
from eden_client.film.read.sources import PIPE, LocalSource, identity, open_film
from eden_client.film.resume_journal import JOURNAL_VERSION, Entry
from eden_client.film.segment_maker import FilmTask
from eden_client.film.stages import Stage, StageTimes, limit_of
from eden_client.film.write.budget import Budget
from eden_client.film.write.folder_result import FORMATS, FolderResult
from eden_client.film.write.frame_converter import FrameConverter
from eden_client.film.write.results import Result, Timing, Written, frame_of
from eden_client.film.write.segments import common_tick
from eden_client.film.write.targets import Kind, check_target, kind_of, open_result
from eden_client.film.write.video_result import VideoResult
from eden_client.trace.recording import UNTRACED, Step, begun, observed
from media import MediaError, encode_image
from media.machine import cores

MANY_CORES = 4
"""Cores from which on several processes are faster than the threads of one."""
SCOUTING = 8
"""Where at least this many segments are made at once, the workers also compare stretches of the film for the planner
(plan/scouting.py), half as many at once."""
SCOUTS = 16
"""Stretches that are compared at once, at most."""
WORTH_IT = 192
"""Frames of the result from which on starting processes pays."""


def interpolate_film(
    order: Order,
    client: EdenClient,
    report: Report,
    connect: Callable[[], EdenClient] | None = None,
    cluster: Cluster | None = None,
) -> Summary:
    """Make the film that `order` describes.

    connect   makes a client like `client` in another process, and can be pickled; None: work in this process alone
    cluster   makes the film's segments instead of this machine
    Raises MediaError, JournalError, EdenError, OSError or KeyboardInterrupt; once frames have been made, with an
    `Interrupted` as its cause.
    """
    check_target(order)
    with (
        begun(client.trace, None, "film", source=order.source) as step,
        open_film(order.source, order.source_fps, order.strict) as opened,
    ):
        film: Film = opened
        if order.start or order.duration is not None:
            film = FilmPart(film, order.start, order.duration)
        if order.slow > 1:
            film = SlowFilm(film, order.slow)
        turned = opened.look.rotation and (order.compare or kind_of(order.target) is not Kind.VIDEO)
        film = RotatedFilm(film) if turned else film
        with ReadAhead(film) as ahead:
            return _Run(order, client, report, ahead, connect, step, cluster).make()


def _rescued(result: Result) -> Interrupted:
    try:
        part = result.rescue()
    except MediaError:  # the error that led here is the one to report
        part = None
    return Interrupted(part, result.frames)


class _Run:
    def __init__(
        self,
        order: Order,
        client: EdenClient,
        report: Report,
        ahead: ReadAhead,
        connect: Callable[[], EdenClient] | None,
        step: Step,
        cluster: Cluster | None,
    ) -> None:
        self._step, self._cluster = step, cluster
        self._order, self._client, self._report, self._ahead = order, client, report, ahead
        self._film = film = ahead.film
        self._summary = Summary(order.source, order.target)
        self._started, self._told = time.perf_counter(), 0
        self._look = look_of(film.look) if order.compare else film.look
        self._ratio = order.fps / film.look.rate if order.fps else Fraction(order.times)
        rate = film.look.rate * self._ratio
        self._timing = Timing(rate, self._tick(), 1 / rate)
        self._segments = Segmentation(self._ratio, order.clip, film.look.size, film.expected)
        self._budget = Budget(order.memory, film.look.size, order.clip, client.window)
        self._connect = connect
        self._counting, self._written = threading.Lock(), 0
        self._times = StageTimes()

    def make(self) -> Summary:
        executor = self._executor()
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
        self._result = result
        try:
            self.note(*notes)
            self._summary.resumed_at = self._written = result.frames
            expected = None if self._film.expected is None else round(self._film.expected * self._ratio)
            self._report.begin(self._film.name, expected, result.frames)
            try:
                if executor:
                    self._by_executor(result, *executor)
                else:
                    self._in_this_process(result)
                with self._step.child("join"):
                    notes = result.finish()
                self.note(*notes)
            except BaseException as error:
                raise error from _rescued(result)
        finally:
            result.close()
        self.note()
        return self._finished(result.frames)

    def _executor(self) -> tuple[Executor, int] | None:
        """What makes segments, and how many workers share a server's calls; None: this process. Raises MediaError."""
        if self._cluster is None:
            count = self._processes()
            return (LocalProcesses(count, self._connect, self._client), count) if self._connect and count > 1 else None
        if PIPE in (self._order.source, self._order.target):
            raise MediaError("nodes of a cluster make films from and to files, not pipes")
        if self._order.compare and kind_of(self._order.target) is Kind.PICTURE:
            raise MediaError("a single picture is not made by a cluster")
        if isinstance(self._film, FilmPart | SlowFilm):
            raise MediaError("a part of a film, or a slowed one, is not made by a cluster: leave out --ray")
        executor = self._cluster.executor(self._film, self._order, self._client.trace)
        return executor, self._cluster.side_by_side

    def _processes(self) -> int:
        """The number of processes that make the film; 1: this one alone."""
        film: object = self._film.film if isinstance(self._film, SlowFilm) else self._film
        again = isinstance(film, FilmFile | ImageFilm) and self._order.source != PIPE
        if self._connect is None or not again or kind_of(self._order.target) is Kind.PIPE:
            return 1
        if self._order.processes:
            return self._order.processes
        expected = (self._film.expected or 0) * self._ratio
        return self._budget.processes if cores() >= MANY_CORES and expected >= WORTH_IT else 1

    def _in_this_process(self, result: Result) -> None:
        done = result.done
        self._times.begin("encoding", self._encoders())
        gaps = (gap for gap in self._gaps(self._classified()) if self._segments.number(gap.index) not in done)
        read = observed(self._step, "read", gaps)
        between, frame_of = asking(self._client, self._planes(result), self._step)
        pipeline = Pipeline(read, between, self._budget.window, self._order.clip, self._times, frame_of=frame_of)
        frames = pipeline.frames()
        try:
            self._write(compared(frames) if self._order.compare else frames, result)
        finally:
            frames.close()

    def _by_executor(self, result: Result, executor: Executor, count: int) -> None:
        assert isinstance(result, VideoResult | FolderResult)
        order = self._order
        window = max(1, self._client.window // count)
        source = LocalSource.of(order.source, order.source_fps, order.strict)
        planes, step = self._planes(result), self._step.context
        task = FilmTask(source, result.sinks, window, order.clip, order.compare, planes, step)
        planner = Planner(self._segments, result.done)
        at_once = executor.at_once
        scouting = (executor.scout, min(at_once // 2, SCOUTS)) if at_once >= SCOUTING else None
        jobs = planner.jobs(self._gaps(planner.seen(self._classified(self._budget.comparing, scouting))))
        self._calls_of_each = window
        self._times.begin("planning")
        if isinstance(self._film, FilmFile):
            self._film.decode_ahead(self._budget.planners)
        planned = observed(self._step, "plan", self._timed(jobs))
        executor.run(task, planned, self)

    def _encoders(self) -> int:
        """Threads of this process that can encode at once: no more than there are segments."""
        if kind_of(self._order.target) is Kind.PIPE:
            return 1
        most, expected = self._budget.segments, self._film.expected
        return most if expected is None else min(most, self._segments.number(max(expected - 1, 0)) + 1)

    def _planes(self, result: Result) -> FrameConverter | None:
        """What converts pictures to the planes that are sent; None: RGB is sent."""
        needs_pixels = self._order.compare or isinstance(self._film, RotatedFilm)
        return None if needs_pixels or not self._client.takes_planes else result.planes

    def _timed(self, jobs: Iterator[SegmentJob]) -> Iterator[SegmentJob]:
        while True:
            with self._times.at_work("planning"):
                job = next(jobs, None)
            if job is None:
                return
            yield job

    def _write(self, frames: Iterator[tuple[Gap, Iterator[Made]]], result: Result) -> None:
        """Write all frames to the result, segment by segment."""
        open_: int | None = None
        encoding = UNTRACED
        for gap, made in frames:
            if open_ is None:
                open_ = self._segments.number(gap.index)
                encoding = self._step.child("encode", segment=open_)
            for each in made:
                result.write(open_, frame_of(each))
            gap.left.release()
            if self._segments.ends_with(gap.index):
                result.end_segment(open_)
                encoding.end()
                open_ = None
        if open_ is not None:
            result.end_segment(open_)
            encoding.end()

    def wrote(self, what: Written, times: Mapping[Stage, float] | None = None) -> None:
        """Frames are encoded, or an encoder was flushed. `times`: seconds per other stage, of another process."""
        for stage, seconds in (*(times or {}).items(), ("encoding", what.seconds)):
            self._times.add(stage, seconds)
        with self._counting:
            since_start = time.perf_counter() - self._started
            self._summary.seconds.setdefault("to_first_frame", since_start)
            if what.drawn:
                self._summary.seconds.setdefault("to_first_new_frame", since_start)
            self._written += what.frames
            drawn = "to_first_new_frame" in self._summary.seconds
            self._report.progress(self._written, limit_of(self._times.busy()), drawn)

    def lost(self, frames: int) -> None:
        """`frames` that were encoded have to be made again."""
        with self._counting:
            self._written -= frames

    def joined(self) -> None:
        """Another process is at work: it reads, makes calls, and encodes with one thread."""
        self._times.begin("reading")
        self._times.begin("server", self._calls_of_each)
        self._times.begin("encoding")

    def finished(self, entry: Entry, traffic: dict[str, float]) -> None:
        """Another process has finished a segment. `traffic`: its counts of requests and bytes."""
        self._client.traffic.add(**traffic)
        self._result.record(entry)

    def trouble(self, error: ServerTrouble) -> None:
        """A call of another process failed, and is tried again."""
        if self._client.on_trouble:
            self._client.on_trouble(error)

    def _compare_one(self) -> Summary:
        """Make one picture that compares the pair with the most motion."""
        gaps = self._gaps(self._classified())
        picture = liveliest_compared(gaps, self._client.interpolate_pair, self._film.name)
        self._summary.seconds["to_first_frame"] = self._summary.seconds["to_first_new_frame"] = (
            time.perf_counter() - self._started
        )
        target = Path(self._order.target)
        data = encode_image(picture, FORMATS[target.suffix.lower()], self._order.crf)
        place = target.resolve()
        fresh = place.with_name(place.name + ".new")
        try:
            fresh.write_bytes(data)
            fresh.replace(place)
        finally:
            fresh.unlink(missing_ok=True)
        return self._finished(1)

    def _classified(
        self, threads: int = 1, scouting: tuple[Scout, int] | None = None
    ) -> Iterator[tuple[Picture, Relation]]:
        """The film's pictures with their relations. `scouting`: starts a scout, and how many may work at once."""
        order, film = self._order, self._film
        asked = order.cuts is not None, order.duplicates != "off"
        found = differences.steps(self._numbered(), *asked, threads)
        if scouting and isinstance(film, FilmFile):
            found = scouted_steps(film, found, *scouting, *asked)
        return classified(self._counted(found), order.cuts, asked[1])

    def _gaps(self, film: Iterator[tuple[Picture, Relation]]) -> Iterator[Gap]:
        order = self._order
        clock: Clock = Constant(order.fps) if order.fps else Multiply(order.times)
        own = order.times.bit_length() - 1
        retime = order.duplicates == "skip"
        depth = order.depth if order.fps else (own + LONGEST_HOLD.bit_length() - 1 if retime else own)
        for gap in plan(film, clock, depth, 1 / self._film.look.rate, retime):
            if gap.relation is not Relation.MOTION:
                name = gap.relation.value
                self._summary.repeated[name] = self._summary.repeated.get(name, 0) + 1
            yield gap

    def _numbered(self) -> Iterator[Picture]:
        for number, picture in enumerate(self._ahead.pictures()):
            picture.number = number
            yield picture

    def _counted(self, film: Iterator[differences.Step]) -> Iterator[differences.Step]:
        for step in film:
            self._summary.frames_in += 1
            yield step
        if self._summary.frames_in < 2:
            raise MediaError(f"{self._film.name}: a single picture, so there is no frame between")

    def _tick(self) -> Fraction:
        """Seconds; every time stamp of the result is a multiple of it."""
        film, order = self._film, self._order
        if order.fps:
            return common_tick([1 / order.fps, *film.ticks])
        return common_tick([tick / order.times for tick in (1 / film.look.rate, *film.ticks)])

    def _fingerprint(self) -> dict[str, Any]:
        """All that decides how the result looks, by the option's name."""
        told: dict[str, Any] = {
            f"--{name.replace('_', '-')}": value if isinstance(value, int | float | None) else str(value)
            for name, value in asdict(self._order).items()
            if name not in ("source", "target", "strict", "resume", "overwrite", "memory", "processes")
        }
        told["version of eden-interpolate"] = JOURNAL_VERSION
        return told | {"INPUT": identity(self._order.source), "--seed": self._client.seed}

    def note(self, *notes: str) -> None:
        """Report these notes, and the film's new warnings."""
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
            "decode": self._times.seconds("planning", "reading"),
            "send": traffic.pop("send_seconds"),
            "server": traffic.pop("server_seconds"),
            "encode": self._times.seconds("encoding"),
        }
        self._summary.busy = self._times.busy()
        self._summary.limit = limit_of(self._summary.busy)
        self._summary.traffic = traffic
        return self._summary
