"""The decoder's service: a ticket in, the frames between out."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from itertools import count, islice

import numpy as np
import torch

from eden import DitDecoder, EncoderOutput, YuvFormat
from eden.pass_times import PassTime
from handoff import Handoff, HandoffError, Ticket
from serving.answer import (
    STREAM_CONTENT_TYPE,
    Answer,
    answer_of_pictures,
    as_part,
    encode_answer,
    encode_part,
    stream_end,
)
from serving.batch import Batch
from serving.device_health import DeviceGuard
from serving.errors import PASSED_ON, BadRequest, DeadlinePassed, read_envelope
from serving.jpeg import BatchJpeg
from serving.options import CONTENT_TYPES, Options, Rendering, read_options, rendering
from serving.outbox import Outbox
from serving.regions import RegionFolder
from serving.request import ARRIVED, Caller, Request, as_bytes
from serving.telemetry import Telemetry

logger = logging.getLogger(__name__)

BODY = ("body", "data", "ticket")
"""Names of fields that may hold a ticket: a raw body, gRPC's usual key, a form field."""

SLICE = 32
"""Pairs of a clip that are drawn between two checks of its deadline."""


@dataclass(frozen=True)
class TicketJob:
    """A request whose ticket has been verified."""

    request: Request
    ticket: Ticket
    seed: int
    how: Rendering
    stream: bool


@dataclass(frozen=True)
class DrawJob:
    """A clip whose frames between are to be drawn."""

    request: Request
    output: EncoderOutput
    seed: int
    how: Rendering

    @property
    def kind(self) -> tuple[tuple[int, int], YuvFormat | None]:
        """(grid, format of planes): jobs that agree in both are drawn together."""
        return self.output.grid, self.how.yuv


@dataclass(frozen=True)
class StreamJob:
    """A clip to draw pair by pair."""

    request: Request
    pairs: Iterator[EncoderOutput]
    seed: int
    how: Rendering


@dataclass(frozen=True)
class Drawn:
    """The frames of a request, yet to be encoded."""

    request: Request
    frames: torch.Tensor
    """[K-1, 3, H, W] uint8, or planes, [K-1, H*3/2, W]; on the host or the device"""
    source: torch.Tensor | None
    """[K, 3, H, W] uint8, if the answer contains the source frames too"""
    how: Rendering


class Drawing:
    """Draws the frames between of clips and encodes them; used by the decoder's and the fused service.

    requests, pictures   threads for the answers of a batch, and for the pictures of one answer: an answer waits for
                         its pictures, so pictures must never wait for an answer
    jpeg                 encodes JPEG on the decoder's GPU; None: the CPU does
    regions              the folder of shared memory regions, if they are accepted
    """

    def __init__(
        self,
        decoder: DitDecoder,
        requests: Executor,
        pictures: Executor,
        telemetry: Telemetry,
        jpeg: BatchJpeg | None = None,
        regions: RegionFolder | None = None,
    ) -> None:
        self._decoder, self._requests, self._pictures, self._telemetry = decoder, requests, pictures, telemetry
        self._jpeg, self._regions = jpeg, regions

    def whole(self, batch: Batch, jobs: Sequence[DrawJob], outbox: Outbox) -> None:
        """Draw clips of one kind together, but long ones with a deadline alone; then encode each answer."""
        jobs = batch.in_time(jobs, "drawing")
        self.answer(batch, batch.together([job for job in jobs if not _in_slices(job)], self.draw), outbox)
        if sliced := [job for job in jobs if _in_slices(job)]:
            batch.send()
            self.answer(batch, batch.each(sliced, lambda job: self.draw_slices(batch, job)), outbox)

    def answer(self, batch: Batch, drawn: Sequence[Drawn], outbox: Outbox) -> None:
        """Encode the frames of each request; a large answer may be sent ahead of the others."""

        def encode(made: Drawn) -> tuple[Drawn, Answer]:
            pictures = coded.get(made.request.index)
            if pictures:
                answer = answer_of_pictures(pictures, "jpeg")
            else:
                source = None if made.source is None else _as_array(made.source)
                answer = encode_answer(_as_array(made.frames), source, made.how, self._pictures, self._regions)
            answer = batch.leave(made.request, answer)
            gone = outbox.ahead(made.request.index, answer)
            return made, replace(answer, body=b"") if gone else answer

        with self._telemetry.stage("image_encode", drawn):
            coded = self._coded(drawn)
            for made, answer in batch.each(drawn, encode, self._requests):
                batch.answer(made.request, answer)

    def streamed(self, batch: Batch, jobs: Sequence[StreamJob], outbox: Outbox) -> None:
        """Draw the next pair of all clips together, until all are done; each frame is sent to its caller at once.

        A clip that fails before its first frame is answered with an error; a later failure is its stream's last part.
        """
        begun: set[int] = set()
        going = list(jobs)
        for number in count():
            going = batch.in_time(going, "next of its frames" if number else "drawing")
            _end_broken(batch, [job.request for job in jobs if job.request.index in begun])
            if not going:
                break
            batch.send()
            pairs = batch.each(going, _next_pair)
            for job, pair in pairs:
                if pair is None:
                    batch.answer(job.request, Answer(stream_end(), STREAM_CONTENT_TYPE))
            drawn = batch.together([pair for _, pair in pairs if pair], self.draw)

            with self._telemetry.tracer.step("image_encode", drawn):
                coded = self._coded(drawn)

                def part(made: Drawn, coded: dict[int, list[bytes]] = coded, number: int = number) -> tuple[int, bytes]:
                    return made.request.index, self._part(made, coded.get(made.request.index), number)

                parts = batch.each(drawn, part, self._requests)
            for index, body in parts:
                outbox.send(index, body, STREAM_CONTENT_TYPE)
            sent = {index for index, _ in parts}
            begun |= sent
            going = [job for job in going if job.request.index in sent]

    def draw_slices(self, batch: Batch, job: DrawJob) -> Drawn:
        """The frames of one clip; its deadline is checked every SLICE pairs. Raises DeadlinePassed."""
        if not _in_slices(job):
            return self.draw([job])[0]
        pairs = len(job.output) - 1
        drawn = []
        for start in range(0, pairs, SLICE):
            batch.check(job.request, "next of its frames")
            part = replace(job, output=job.output.pairs(start, min(start + SLICE, pairs)))
            drawn.append(self.draw([part])[0].frames)
        return Drawn(job.request, torch.cat(drawn), job.output.frames, job.how)

    def draw(self, jobs: list[DrawJob]) -> list[Drawn]:
        """The frames of clips of one kind, computed together."""
        tracer = self._telemetry.tracer
        with self._telemetry.stage("denoise_decode", jobs):
            timing = self._decoder.timed() if tracer.records(jobs) else contextlib.nullcontext[list[PassTime]]([])
            with timing as passes:
                frames = self._decoder.interpolate(
                    [job.output for job in jobs],
                    seeds=[job.seed for job in jobs],
                    as_uint8=True,
                    to_host=not self._on_device(jobs),
                    yuv=jobs[0].how.yuv,
                )
            pairs = zip(jobs, frames, strict=True)
            drawn = [Drawn(job.request, own, job.output.frames, job.how) for job, own in pairs]
            for each in passes:
                tracer.within("denoise", jobs, each.began, each.denoised)
                tracer.within("decode", jobs, each.denoised, each.ended)
        self._telemetry.pairs(sum(map(len, frames)))
        return drawn

    def _on_device(self, jobs: Sequence[DrawJob]) -> bool:
        """Whether the frames are encoded on the device where they are drawn."""
        frames = sum(len(job.output) - 1 for job in jobs)
        return bool(self._jpeg and self._jpeg.encodes(frames) and any(job.how.format == "jpeg" for job in jobs))

    def _part(self, drawn: Drawn, pictures: list[bytes] | None, number: int) -> bytes:
        if pictures:
            return as_part(pictures[0], CONTENT_TYPES["jpeg"])
        return encode_part(_as_array(drawn.frames)[0], drawn.how, number, self._regions)

    def _coded(self, drawn: Sequence[Drawn]) -> dict[int, list[bytes]]:
        """Frames as JPEG, by the index of their request: of those that ask for JPEG and are on the device."""
        mine = [made for made in drawn if made.how.format == "jpeg" and made.frames.is_cuda]
        if not self._jpeg or not mine:
            return {}
        try:
            coded = iter(
                self._jpeg.encode(
                    [frame for made in mine for frame in made.frames],
                    [made.how.quality for made in mine for _ in made.frames],
                )
            )
        except RuntimeError as error:
            logger.warning("JPEG is encoded by the CPU, since encoding on the GPU failed: %s", error)
            return {}
        return {made.request.index: list(islice(coded, len(made.frames))) for made in mine}


class DecodeService:
    """Takes the tokens of tickets, and draws the frames between.

    hold   called before tokens are taken: from then on there is something to finish
    clock  returns seconds since the epoch, with which deadlines are compared
    """

    def __init__(
        self,
        drawing: Drawing,
        handoff: Handoff,
        telemetry: Telemetry,
        guard: DeviceGuard | None = None,
        hold: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._guard, self._hold, self._clock = guard, hold, clock
        self._drawing, self._handoff, self._telemetry = drawing, handoff, telemetry

    def serve(self, requests: Sequence[Request], outbox: Outbox) -> list[Answer]:
        """One answer per request: frames, or an error's envelope. Urgent ones go first, whole clips before streams."""
        batch = Batch(requests, self._guard, outbox, self._clock, self._telemetry.tracer.leave)
        jobs = [job for job in batch.each(requests, lambda request: self._read(batch, request)) if job]
        if jobs:
            self._hold()
        for turn in batch.turns(jobs):
            whole = [job for job in turn if not job.stream]
            with self._telemetry.stage("take", whole):
                taken = batch.each(whole, lambda job: self._take(batch, job))
            self._drawing.whole(batch, taken, outbox)
            streams = batch.each([job for job in turn if job.stream], lambda job: self._open(batch, job))
            self._drawing.streamed(batch, streams, outbox)
        return batch.answers()

    def _read(self, batch: Batch, request: Request) -> TicketJob | None:
        """None if the encoder refused the request: its refusal is then the answer."""
        name = next((name for name in BODY if name in request.fields), BODY[0])
        body = as_bytes(name, request.fields.get(name, b""))
        if not body:
            raise BadRequest("no ticket: send the bytes that the encoder answered, as application/octet-stream")
        refusal = self._handoff.read_refusal(body)
        if refusal is not None:
            batch.answer(request, Answer.envelope(read_envelope(refusal), PASSED_ON))
            return None
        ticket = self._handoff.read(body)
        if request.caller is Caller.WORKFLOW and ARRIVED in ticket.options:
            self._telemetry.began(request.index, ticket.options[ARRIVED])
        self._telemetry.tracer.follow(request, ticket.options)
        own = _asked(request)
        options, default_format = own.with_ticket(ticket.options)
        how = rendering(options, default_format, own.stream)
        request = options.terms(request)
        request = replace(request, due=min(request.due, ticket.options.get("due", math.inf)))
        return TicketJob(request, ticket, options.seed or 0, how, own.stream)

    def _take(self, batch: Batch, job: TicketJob) -> DrawJob:
        self._check(batch, job)
        return DrawJob(job.request, self._handoff.take(job.ticket), job.seed, job.how)

    def _open(self, batch: Batch, job: TicketJob) -> StreamJob:
        self._check(batch, job)
        return StreamJob(job.request, self._pairs(job), job.seed, job.how)

    def _pairs(self, job: TicketJob) -> Iterator[EncoderOutput]:
        pairs = self._handoff.stream(job.ticket)
        for _ in range(job.ticket.length - 1):
            with self._telemetry.tracer.step("take", [job]):
                pair = next(pairs)
            yield pair
        yield from pairs  # yields no more pairs, but lets the hand-off mark the payload taken

    def _check(self, batch: Batch, job: TicketJob) -> None:
        """Raises DeadlinePassed for a job whose caller waits no longer, after taking its tokens.

        Otherwise they would count as in flight until they expire.
        """
        try:
            batch.check(job.request, "drawing")
        except DeadlinePassed:
            with contextlib.suppress(HandoffError):
                self._handoff.take(job.ticket)
            raise


def _asked(request: Request) -> Options:
    """The options of a request to the decoder itself; none in a workflow.

    There the encoder has read the headers already; if they were refused now, the payload would stay until it expires.
    """
    if request.caller is Caller.WORKFLOW:
        return Options()
    return read_options({name: value for name, value in request.fields.items() if name not in BODY}, request.headers)


def _in_slices(job: DrawJob) -> bool:
    return job.request.due < math.inf and len(job.output) - 1 > SLICE


def _end_broken(batch: Batch, begun: Sequence[Request]) -> None:
    """End the streams that failed after their first frame, with the error as the last part."""
    for request in begun:
        answer = batch.answered(request)
        if answer and answer.content_type != STREAM_CONTENT_TYPE:
            error = as_part(answer.body, answer.content_type)
            batch.answer(request, Answer(error + stream_end(), STREAM_CONTENT_TYPE))


def _next_pair(job: StreamJob) -> tuple[StreamJob, DrawJob | None]:
    output = next(job.pairs, None)
    return job, None if output is None else DrawJob(job.request, output, job.seed, job.how)


def _as_array(frames: torch.Tensor) -> np.ndarray:
    """[K, 3, H, W] uint8 on any device -> [K, H, W, 3] on the CPU; planes as they are."""
    return (frames if frames.ndim == 3 else frames.permute(0, 2, 3, 1)).contiguous().cpu().numpy()
