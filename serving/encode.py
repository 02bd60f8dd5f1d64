"""The encoder's part: frames in, a ticket for their tokens out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

import torch

from eden import Encoder, EncoderOutput, padded_grid
from handoff import Handoff
from serving.admission import Admission
from serving.answer import Answer
from serving.batch import Batch
from serving.clip import read_clip
from serving.errors import TooLarge
from serving.limits import ClipLimits, TokenLayout
from serving.options import Options, own_rate, read_options
from serving.request import Caller, Request
from serving.telemetry import Telemetry

TICKET = "application/vnd.eden.ticket"
REFUSAL = "application/vnd.eden.refusal"


@dataclass(frozen=True)
class EncodeJob:
    """A request whose frames have been read."""

    request: Request
    frames: torch.Tensor
    """[K, 3, H, W] uint8, on the host"""
    options: Options
    default_format: str
    """of an answer, where the request names none"""
    grid: tuple[int, int]

    @property
    def with_frames(self) -> bool:
        """Whether the answer holds the source frames too."""
        return (self.options.format or self.default_format) == "mp4"


@dataclass(frozen=True)
class Encoded:
    """A job and its tokens."""

    job: EncodeJob
    output: EncoderOutput

    @property
    def request(self) -> Request:
        return self.job.request


class ClipReader:
    """Requests to jobs; `pictures`: threads that decode."""

    def __init__(self, limits: ClipLimits, patch_size: int, pictures: Executor) -> None:
        self._limits, self._patch_size, self._pictures = limits, patch_size, pictures

    def read(self, request: Request) -> EncodeJob:
        """Raises BadRequest, TooLarge, MediaError."""
        options = read_options(request.fields, request.headers)
        clip = read_clip(request.fields, self._limits, self._pictures)
        frames = torch.from_numpy(clip.frames).permute(0, 3, 1, 2)
        is_film = (options.format or clip.answer) == "mp4"
        if is_film and clip.rate is not None and options.fps is None:
            options = replace(options, fps=own_rate(clip.rate))
        grid = padded_grid(frames.shape[2], frames.shape[3], self._patch_size)
        return EncodeJob(request, frames, options, clip.answer, grid)


def encode_together(encoder: Encoder, telemetry: Telemetry) -> Callable[[list[EncodeJob]], list[Encoded]]:
    """A step that encodes the clips of one grid together."""

    def step(jobs: list[EncodeJob]) -> list[Encoded]:
        with telemetry.stage("encode"):
            outputs = encoder.encode_clips([job.frames for job in jobs])
        return [
            Encoded(job, replace(output, frames=job.frames) if job.with_frames else output)
            for job, output in zip(jobs, outputs, strict=True)
        ]

    return step


class EncodeService:
    """Admits a batch, reads it, encodes it together, and puts the tokens where a decoder can take them.

    requests   threads that read requests side by side
    payload    the largest that the hand-off carries, in bytes
    """

    def __init__(
        self,
        encoder: Encoder,
        reader: ClipReader,
        layout: TokenLayout,
        admission: Admission,
        handoff: Handoff,
        requests: Executor,
        telemetry: Telemetry,
    ) -> None:
        self._encoder, self._reader, self._layout = encoder, reader, layout
        self._admission, self._handoff, self._requests = admission, handoff, requests
        self._telemetry = telemetry

    def serve(self, requests: Sequence[Request]) -> list[Answer]:
        """A ticket per request, or an error's envelope."""
        batch = Batch(requests)
        self._admission.begin(len(requests))
        admitted = batch.each(requests, self._admission.admit)
        with self._telemetry.stage("image_decode"):
            jobs = batch.each(admitted, self._reader.read, self._requests)
        fitting = batch.each(jobs, self._fitting)
        encoded = batch.together(fitting, encode_together(self._encoder, self._telemetry))
        with self._telemetry.stage("put"):
            for each, ticket in batch.each(encoded, lambda each: (each, self._put(each))):
                batch.answer(each.request, Answer(ticket, TICKET))
        return [self._outgoing(*each) for each in zip(requests, batch.answers(), strict=True)]

    def _fitting(self, job: EncodeJob) -> EncodeJob:
        """The job, if its payload can ever be put: source frames that travel along take room too."""
        count, (height, width) = len(job.frames), job.frames.shape[2:]
        most = self._handoff.settings.max_payload_bytes
        if self._layout.nbytes(count, height, width, job.with_frames) > most:
            largest = self._layout.largest_clip(most, height, width, job.with_frames)
            raise TooLarge(
                f"{count} frames of {width}x{height} pixels and their tokens are over {most} bytes: {largest} fit",
                largest,
            )
        return job

    def _put(self, encoded: Encoded) -> bytes:
        said = encoded.job.options.to_ticket(encoded.job.default_format)
        return self._handoff.put(encoded.output, said, by_caller=encoded.request.caller is not Caller.WORKFLOW)

    def _outgoing(self, request: Request, answer: Answer) -> Answer:
        """In a workflow what is no ticket goes to the decoder too, which must know it for ours."""
        if request.caller is Caller.WORKFLOW and answer.content_type != TICKET:
            return Answer(self._handoff.refuse(answer.body), REFUSAL, answer.status)
        return answer
