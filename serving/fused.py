"""Both halves in one process: frames in, the frames between out, with no ticket and no hand-off."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor

import torch

from eden import Encoder, EncoderOutput
from eden.encoder import Clip
from serving.admission import Admission
from serving.answer import Answer
from serving.batch import Batch
from serving.decode import Drawing, DrawJob, Drawn, StreamJob
from serving.device_health import DeviceGuard
from serving.encode import ClipReader, Encoded, EncodeJob, ReadJob, admitted, encode_together, read_part
from serving.limits import TokenLayout
from serving.options import Rendering, rendering
from serving.outbox import Outbox
from serving.request import Caller, Request
from serving.telemetry import Telemetry

WINDOW_BYTES = 1 << 30
"""Most bytes of one clip's tokens on the device: longer clips are processed in windows that share one frame."""


class FusedService:
    """Admits a batch, reads it, encodes it and draws the frames between on one device.

    clock  returns seconds since the epoch, with which deadlines are compared
    """

    def __init__(
        self,
        encoder: Encoder,
        drawing: Drawing,
        reader: ClipReader,
        layout: TokenLayout,
        admission: Admission,
        requests: Executor,
        telemetry: Telemetry,
        guard: DeviceGuard | None = None,
        window_bytes: int = WINDOW_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._guard, self._clock = guard, clock
        self._encoder, self._drawing, self._reader, self._layout = encoder, drawing, reader, layout
        self._admission, self._requests, self._telemetry = admission, requests, telemetry
        self._window_bytes = window_bytes
        self._encode = encode_together(encoder, telemetry)

    def serve(self, requests: Sequence[Request], outbox: Outbox) -> list[Answer]:
        """One answer per request: frames, or an error's envelope. Urgent ones go first, whole clips before streams."""
        batch = Batch(requests, self._guard, outbox, self._clock, self._telemetry.tracer.leave)
        for turn in batch.turns(admitted(batch, self._reader, self._admission)):
            for part in self._reader.parts(turn):
                self._serve_part(batch, part, outbox)
        return batch.answers()

    def _serve_part(self, batch: Batch, part: list[ReadJob], outbox: Outbox) -> None:
        """Serve one part of a batch; a method of its own, so that its frames are freed before the next part is read."""
        jobs = read_part(batch, self._reader, part, self._requests, self._telemetry)
        jobs = batch.in_time(jobs, "encoding")
        streamed = [job for job in jobs if _is_streamed(job)]
        whole = [job for job in jobs if not _is_streamed(job)]
        short = [job for job in whole if len(job.frames) <= self._window(job)]
        encoded = batch.together(short, self._encode)
        self._drawing.whole(batch, [_draw_job(each) for each in encoded], outbox)
        long = [job for job in whole if len(job.frames) > self._window(job)]
        self._drawing.answer(batch, batch.each(long, lambda job: self._draw_long(batch, job)), outbox)
        self._drawing.streamed(batch, [self._stream_job(job) for job in streamed], outbox)

    def _window(self, job: EncodeJob) -> int:
        """The most frames of a clip whose tokens may be on the device at once."""
        return max(2, self._layout.largest_clip(self._window_bytes, *job.size))

    def _windows(self, job: EncodeJob) -> Iterator[Clip]:
        """The windows of a clip; one if its tokens fit."""
        pairs = self._window(job) - 1
        return (job.frames[start : start + pairs + 1] for start in range(0, len(job.frames) - 1, pairs))

    def _draw_long(self, batch: Batch, job: EncodeJob) -> Drawn:
        drawn = []
        for frames in self._windows(job):
            batch.check(job.request, "next of its frames")
            window = DrawJob(job.request, self._encoded(job, frames), _seed(job), _how(job))
            drawn.append(self._drawing.draw_slices(batch, window).frames.cpu())
        return Drawn(job.request, torch.cat(drawn), job.source, _how(job))

    def _stream_job(self, job: EncodeJob) -> StreamJob:
        pairs = (pair for frames in self._windows(job) for pair in self._encoded(job, frames))
        return StreamJob(job.request, pairs, _seed(job), _how(job))

    def _encoded(self, job: EncodeJob, frames: Clip) -> EncoderOutput:
        with self._telemetry.stage("encode", [job]):
            return self._encoder.encode(frames)


def _is_streamed(job: EncodeJob) -> bool:
    return job.options.stream and job.request.caller is not Caller.WORKFLOW


def _seed(job: EncodeJob) -> int:
    return job.options.seed or 0


def _how(job: EncodeJob) -> Rendering:
    return rendering(job.options, job.default_format, _is_streamed(job))


def _draw_job(encoded: Encoded) -> DrawJob:
    return DrawJob(encoded.request, encoded.output, _seed(encoded.job), _how(encoded.job))
