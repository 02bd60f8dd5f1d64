"""A whole film: read, planned, asked for, written, all at the same time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

from eden_client.api.client import EdenClient
from eden_client.film.compare import compared, liveliest, look_of, side_by_side
from eden_client.film.order import Interrupted, Order, Report, Summary
from eden_client.film.pipeline import Made, Pipeline
from eden_client.film.plan.timeline import LONGEST_HOLD, Clock, Constant, Gap, Multiply, Relation, plan
from eden_client.film.plan.transitions import classify_transitions
from eden_client.film.read.film import Film, Picture
from eden_client.film.read.rotated_film import RotatedFilm
from eden_client.film.read.sources import identity, open_film
from eden_client.film.write.folder_result import FORMATS
from eden_client.film.write.results import Result, Timing
from eden_client.film.write.segments import common_tick
from eden_client.film.write.targets import Kind, check_target, kind_of, open_result
from media import MediaError, encode_image

SEGMENT_FRAMES = 96
"""Frames of the result in a segment, about: what an interruption may cost, and how far apart key frames are at most."""

MEMORY = 1 << 30
"""Bytes that the pictures in the air may take, all calls together."""
PICTURE_BYTES = 12
"""A pixel takes: as decoded, as RGB, as sent, as answered."""


def interpolate_film(order: Order, client: EdenClient, report: Report) -> Summary:
    """Make the film that `order` asks for.

    Raises MediaError, JournalError, EdenError or OSError, and KeyboardInterrupt; those that come in the middle of the
    work have an `Interrupted` as their cause.
    """
    check_target(order)
    with open_film(order.source, order.source_fps) as film:
        turned = order.compare or kind_of(order.target) is not Kind.VIDEO
        return _Run(order, client, report, RotatedFilm(film) if turned else film).make()


def _rescued(result: Result) -> Interrupted:
    try:
        part = result.rescue()
    except MediaError:  # the error that led here is the one to tell
        part = None
    return Interrupted(part, result.frames)


class _Run:
    def __init__(self, order: Order, client: EdenClient, report: Report, film: Film) -> None:
        self._order, self._client, self._report, self._film = order, client, report, film
        self._summary = Summary(order.source, order.target)
        self._started, self._told = time.perf_counter(), 0
        self._look = look_of(film.look) if order.compare else film.look
        self._ratio = order.fps / film.look.rate if order.fps else Fraction(order.times)
        rate = film.look.rate * self._ratio
        self._timing = Timing(rate, self._tick(), 1 / rate)
        self._per_segment = max(1, ceil(SEGMENT_FRAMES / self._ratio / (order.clip - 1))) * (order.clip - 1)

    def make(self) -> Summary:
        if self._order.compare and kind_of(self._order.target) is Kind.PICTURE:
            return self._compare_one()
        result, notes = open_result(self._order, self._film, self._look, self._timing, self._fingerprint())
        try:
            self._tell(*notes)
            self._summary.resumed_at = result.frames
            expected = None if self._film.expected is None else round(self._film.expected * self._ratio)
            self._report.begin(self._film.name, expected, result.frames)
            done = result.gaps
            gaps = (gap for gap in self._gaps() if gap.index >= done)
            pipeline = Pipeline(gaps, self._client.between, self._window(), self._order.clip)
            frames = pipeline.frames()
            try:
                encode = self._write(compared(frames) if self._order.compare else frames, result)
            except BaseException as error:
                frames.close()
                raise error from _rescued(result)
        finally:
            result.close()
        self._tell()
        return self._finished(pipeline.read_seconds, encode, result.frames)

    def _write(self, frames: Iterator[list[Made]], result: Result) -> float:
        """Write all frames; returns the seconds that it took."""
        seconds, gaps, kept = 0.0, result.gaps, result.gaps
        for made in frames:
            begun = time.perf_counter()
            self._summary.seconds.setdefault("to_first_frame", begun - self._started)
            for each in made:
                result.write(each)
            gaps += 1
            if gaps % self._per_segment == 0:
                result.end_segment(gaps)
                kept = gaps
            self._report.progress(result.frames)
            seconds += time.perf_counter() - begun
        begun = time.perf_counter()
        if gaps > kept:
            result.end_segment(gaps)
        self._tell(*result.finish())
        return seconds + time.perf_counter() - begun

    def _compare_one(self) -> Summary:
        """The pair with the most motion, as one picture."""
        gap = liveliest(self._gaps())
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
        return self._finished(0.0, 0.0, 1)

    def _gaps(self) -> Iterator[Gap]:
        order = self._order
        clock: Clock = Constant(order.fps) if order.fps else Multiply(order.times)
        own = order.times.bit_length() - 1
        retime = order.duplicates == "skip"
        depth = order.depth if order.fps else (own + LONGEST_HOLD.bit_length() - 1 if retime else own)
        film = classify_transitions(self._counted(), order.cuts, order.duplicates != "off")
        for gap in plan(film, clock, depth, 1 / self._film.look.rate, retime):
            if gap.relation is not Relation.MOTION:
                name = gap.relation.value
                self._summary.repeated[name] = self._summary.repeated.get(name, 0) + 1
            yield gap

    def _counted(self) -> Iterator[Picture]:
        for picture in self._film.pictures():
            self._summary.frames_in += 1
            yield picture
        if self._summary.frames_in < 2:
            raise MediaError(f"{self._film.name}: a single picture, and nothing to go between")

    def _window(self) -> int:
        """Calls side by side: as many as the client may make, and as memory allows for pictures of this size."""
        height, width = self._film.look.size
        per_run = self._order.clip * height * width * PICTURE_BYTES
        return max(1, min(self._client.window, MEMORY // per_run))

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
            if name not in ("source", "target", "resume", "overwrite")
        }
        return told | {"INPUT": identity(self._order.source), "--seed": self._client.seed}

    def _tell(self, *notes: str) -> None:
        """Pass on these notes, and what the film has to say since the last time."""
        of_film = self._film.warnings[self._told :]
        self._told += len(of_film)
        for note in (*of_film, *notes):
            self._summary.warnings.append(note)
            self._report.note(note)

    def _finished(self, decode: float, encode: float, frames: int) -> Summary:
        traffic = self._client.traffic.counts()
        self._summary.frames_out = frames
        self._summary.seconds |= {
            "total": time.perf_counter() - self._started,
            "decode": decode,
            "send": traffic.pop("send_seconds"),
            "server": traffic.pop("server_seconds"),
            "encode": encode,
        }
        self._summary.traffic = traffic
        return self._summary
