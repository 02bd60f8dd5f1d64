"""A node that only carries: it reads a clip as the fused model does, and answers with all its frames but the first."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from handlers.node import NodeHandler
from serving.answer import Answer, encode_answer
from serving.batch import Batch
from serving.encode import ClipReader, EncodeJob
from serving.limits import TokenLayout, clip_limits
from serving.options import rendering
from serving.outbox import Outbox
from serving.request import Request


class OnlyCarries(NodeHandler):
    """Computes nothing."""

    hands_off = False

    def start(self) -> None:
        limits = clip_limits(self.settings.limits, TokenLayout(48, 16, torch.float32), payload=None)
        self.regions = self.settings.region_folder
        self.reader = ClipReader(limits, 16, self.pictures, regions=self.regions)

    def serve(self, requests: Sequence[Request], outbox: Outbox) -> list[Answer]:
        """Frames per request."""
        batch = Batch(requests)

        def answer(job: EncodeJob) -> tuple[Request, Answer]:
            assert isinstance(job.frames, torch.Tensor), "it is called with RGB"
            frames = job.frames[1:].permute(0, 2, 3, 1).numpy()
            how = rendering(job.options, job.default_format, stream=False)
            made = encode_answer(frames, None, how, self.pictures, self.regions)
            gone = outbox.ahead(job.request.index, made)
            return job.request, Answer(b"", made.content_type) if gone else made

        for jobs in self.reader.parts(batch.each(batch.each(requests, self.reader.ask), self.reader.look_at)):
            for request, made in batch.each(self.reader.read_all(batch, jobs, self.requests), answer):
                batch.answer(request, made)
        return batch.answers()
