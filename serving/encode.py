"""The encoder's service: frames in, a ticket for their tokens out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any

import torch

from eden import Encoder, EncoderOutput, Planes, padded_grid
from eden.encoder import Clip, clip_size
from handoff import Handoff
from serving.admission import Admission
from serving.answer import Answer
from serving.batch import Batch
from serving.clip import FEW, ClipSource, look_at, read_clip, read_picture
from serving.device_health import DeviceGuard
from serving.jpeg import BatchJpeg
from serving.limits import ClipLimits
from serving.options import Options, own_rate, read_options, rendering
from serving.outbox import Outbox
from serving.regions import RegionFolder, is_region
from serving.request import ARRIVED, Caller, Request
from serving.telemetry import Telemetry

TICKET = "application/vnd.eden.ticket"
REFUSAL = "application/vnd.eden.refusal"


@dataclass(frozen=True)
class EncodeJob:
    """A request whose frames have been read."""

    request: Request
    frames: Clip
    """uint8, in host memory; or on the GPU, if that has decoded them"""
    options: Options
    default_format: str
    """format of the answer if the request names none"""
    grid: tuple[int, int]

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the frames, in pixels."""
        return clip_size(self.frames)

    @property
    def kind(self) -> tuple[int, int]:
        """The grid: jobs of one grid are encoded together."""
        return self.grid

    @property
    def source(self) -> torch.Tensor | None:
        """[K, 3, H, W] uint8, if the answer contains the source frames too; else None."""
        wanted = _with_frames(self.options, self.default_format)
        return self.frames if wanted and isinstance(self.frames, torch.Tensor) else None


@dataclass(frozen=True)
class Encoded:
    """A job and its tokens."""

    job: EncodeJob
    output: EncoderOutput

    @property
    def request(self) -> Request:
        return self.job.request


@dataclass(frozen=True)
class AskedJob:
    """A request whose options have been read."""

    request: Request
    options: Options


@dataclass(frozen=True)
class ReadJob:
    """A request whose options have been read, and the headers of its pictures, array or video."""

    request: Request
    options: Options
    source: ClipSource
    nbytes: int
    """The most bytes of memory that reading its frames takes."""

    @property
    def with_frames(self) -> bool:
        """Whether the answer contains the source frames too."""
        return _with_frames(self.options, self.source.default_format)


class ClipReader:
    """Turns requests into jobs. `pictures`: threads that decode; `regions`: folder of shared memory regions, if any."""

    def __init__(
        self,
        limits: ClipLimits,
        patch_size: int,
        pictures: Executor,
        jpeg: BatchJpeg | None = None,
        regions: RegionFolder | None = None,
    ) -> None:
        self._limits, self._patch_size, self._pictures, self._jpeg = limits, patch_size, pictures, jpeg
        self._regions = regions

    def ask(self, request: Request) -> AskedJob:
        """Read a request's options. Raises BadRequest."""
        options = read_options(request.fields, request.headers)
        return AskedJob(options.terms(request), options)

    def look_at(self, asked: AskedJob) -> ReadJob:
        """Read headers, and refuse what can never be served before a pixel is decoded.

        Raises BadRequest, RegionUnavailable, TooLarge and MediaError.
        """
        request, options = asked.request, asked.options
        described = is_region(request.headers.get("content-type", ""))
        source = look_at(request.fields, self._limits, self._regions, described, options.yuv)
        if source.region:
            options = replace(options, place=source.region.description.answer, yuv=source.yuv)
        rendering(options, source.default_format, options.stream)  # raises now, before any work, what it would later
        height, width = source.peeked.height, source.peeked.width
        with_frames = _with_frames(options, source.default_format)
        self._limits.check(source.count or 2, height, width, with_frames)
        self._limits.check_bytes(source.nbytes(FEW))
        # a clip of unknown length may need the whole budget, and so is read by itself
        most = source.nbytes(self._limits.largest_clip(height, width, with_frames))
        nbytes = min(most, self._limits.max_decode_bytes)
        return ReadJob(request, options, source, nbytes)

    def parts(self, jobs: Iterable[ReadJob]) -> Iterator[list[ReadJob]]:
        """The jobs in as few parts as memory allows; one part is finished before the next is read."""
        part: list[ReadJob] = []
        for job in jobs:
            if part and sum(each.nbytes for each in part) + job.nbytes > self._limits.max_decode_bytes:
                yield part
                part = []
            part.append(job)
        if part:
            yield part

    def read_all(self, batch: Batch, jobs: Sequence[ReadJob], requests: Executor) -> list[EncodeJob]:
        """Read the frames of all jobs in parallel; JPEGs that the GPU can decode, all in one call there."""
        on_gpu: dict[int, list[torch.Tensor | None]] = {}
        if self._jpeg:
            on_gpu = self._jpeg.decode({job.request.index: job.source for job in jobs if not job.with_frames})

        def read(job: ReadJob) -> EncodeJob:
            pictures = on_gpu.pop(job.request.index, None)
            return self._read(job) if pictures is None else self._completed(job, pictures)

        return batch.each(jobs, read, requests)

    def _completed(self, job: ReadJob, pictures: list[torch.Tensor | None]) -> EncodeJob:
        """A clip of pictures: some are decoded by the GPU, the others (None) are decoded here by the CPU."""
        device = next(picture.device for picture in pictures if picture is not None)
        whole = [
            torch.from_numpy(read_picture(job.source, index, self._limits)).permute(2, 0, 1).to(device)
            if picture is None
            else picture
            for index, picture in enumerate(pictures)
        ]
        return self._job(job, torch.stack(whole), job.options)

    def _read(self, job: ReadJob) -> EncodeJob:
        """Raises BadRequest, TooLarge, MediaError."""
        clip = read_clip(job.source, self._limits, self._pictures, job.with_frames)
        options = job.options
        if job.with_frames and clip.rate is not None and options.fps is None:
            options = replace(options, fps=own_rate(clip.rate))
        frames = torch.from_numpy(clip.frames)
        return self._job(job, Planes(frames, options.yuv) if options.yuv else frames.permute(0, 3, 1, 2), options)

    def _job(self, job: ReadJob, frames: Clip, options: Options) -> EncodeJob:
        grid = padded_grid(*clip_size(frames), self._patch_size)
        return EncodeJob(job.request, frames, options, job.source.default_format, grid)


def admitted(batch: Batch, reader: ClipReader, admission: Admission) -> list[ReadJob]:
    """The requests of a batch that are to be served, with their headers read; the others are answered with errors."""
    asked = batch.each(batch.requests, reader.ask)
    admission.begin(len(batch.requests), asked)
    return batch.each(batch.each(asked, admission.admit), reader.look_at)


def read_part(
    batch: Batch, reader: ClipReader, part: Sequence[ReadJob], requests: Executor, telemetry: Telemetry
) -> list[EncodeJob]:
    """Read the frames of a part of a batch; requests whose callers wait no longer are left out."""
    ready = batch.in_time(part, "decoding of its frames")
    with telemetry.stage("image_decode", ready):
        jobs = reader.read_all(batch, ready, requests)
    telemetry.tracer.note(jobs, _sizes)
    return jobs


def _sizes(job: EncodeJob) -> dict[str, int]:
    """Attributes of a request's frames for its trace."""
    height, width = job.size
    nbytes = sum(len(value) for value in job.request.fields.values() if isinstance(value, bytes | bytearray))
    sizes = {"eden.frames": len(job.frames), "eden.height": height, "eden.width": width}
    return sizes | {"eden.request_bytes": nbytes}


def _with_frames(options: Options, default_format: str) -> bool:
    return (options.format or default_format) == "mp4"


def encode_together(encoder: Encoder, telemetry: Telemetry) -> Callable[[list[EncodeJob]], list[Encoded]]:
    """A step that encodes the clips of one grid together."""

    def step(jobs: list[EncodeJob]) -> list[Encoded]:
        with telemetry.stage("encode", jobs):
            outputs = encoder.encode_clips([job.frames for job in jobs])
        return [Encoded(job, replace(output, frames=job.source)) for job, output in zip(jobs, outputs, strict=True)]

    return step


class EncodeService:
    """Admits a batch, reads it, encodes it together, and puts the tokens where a decoder can take them.

    requests   threads that read requests in parallel
    clock      returns seconds since the epoch, with which deadlines are compared
    """

    def __init__(
        self,
        encoder: Encoder,
        reader: ClipReader,
        admission: Admission,
        handoff: Handoff,
        requests: Executor,
        telemetry: Telemetry,
        guard: DeviceGuard | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._guard, self._clock = guard, clock
        self._reader, self._admission, self._handoff = reader, admission, handoff
        self._requests, self._telemetry = requests, telemetry
        self._encode = encode_together(encoder, telemetry)

    def serve(self, requests: Sequence[Request], outbox: Outbox | None = None) -> list[Answer]:
        """One answer per request: a ticket, or an error's envelope. Refusals are sent before the rest is encoded."""
        batch = Batch(requests, self._guard, outbox, self._clock, self.outgoing)
        for turn in batch.turns(admitted(batch, self._reader, self._admission)):
            for part in self._reader.parts(turn):
                self._serve_part(batch, part)
        return batch.answers()

    def _serve_part(self, batch: Batch, part: list[ReadJob]) -> None:
        """Serve one part of a batch; a method of its own, so that its frames are freed before the next part is read."""
        jobs = read_part(batch, self._reader, part, self._requests, self._telemetry)
        encoded = batch.together(batch.in_time(jobs, "encoding"), self._encode)
        ready = batch.in_time(encoded, "hand-off")
        with self._telemetry.stage("put", ready):
            for each, ticket in batch.each(ready, lambda each: (each, self._put(each))):
                batch.answer(each.request, Answer(ticket, TICKET))

    def _put(self, encoded: Encoded) -> bytes:
        values = encoded.job.options.to_ticket(encoded.job.default_format, encoded.request.due)
        values[ARRIVED] = encoded.request.arrived
        by_caller = encoded.request.caller is not Caller.WORKFLOW

        def options() -> dict[str, Any]:
            return values | self._telemetry.tracer.to_ticket(encoded.request)

        return self._handoff.put(encoded.output, options, by_caller=by_caller)

    def outgoing(self, request: Request, answer: Answer) -> Answer:
        """In a workflow, sign an answer that is not a ticket: the decoder gets it, and must know that it is ours."""
        answer = self._telemetry.tracer.leave(request, answer)
        if request.caller is Caller.WORKFLOW and answer.content_type != TICKET:
            return replace(answer, body=self._handoff.refuse(answer.body), content_type=REFUSAL)
        return answer
