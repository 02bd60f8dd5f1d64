"""TorchServe's model "encoder": frames in, a ticket for their tokens out."""

from __future__ import annotations

from collections.abc import Sequence

from eden import Encoder
from handlers.node import NodeHandler
from handlers.quirks import NodePosition, called_at, waiting_for
from serving.admission import Admission
from serving.answer import Answer
from serving.backlog import Backlog
from serving.encode import ClipReader, EncodeService
from serving.expected_wait import ExpectedWait
from serving.jpeg import open_jpeg
from serving.limits import TokenLayout, clip_limits
from serving.outbox import Outbox
from serving.request import Request
from serving.settings import check_dialled


class EncoderHandler(NodeHandler):
    """Reads a request's frames, encodes them, and puts the tokens where dit_decoder can take them."""

    position = NodePosition.FIRST

    def start(self) -> None:
        """Load the encoder's half of the checkpoint, and warm up for the frame sizes in the settings."""
        assert self.handoff
        settings = self.settings
        check_dialled(settings.handoff, called_at())
        encoder = Encoder.load(settings.checkpoint, self.device, settings.precision)
        self.metrics.watch("encoder", lambda: encoder.out_of_memory)
        encoder.warm(settings.warm, self.batch_sizes())
        config = encoder.config
        layout = TokenLayout(config.hidden_dim, config.patch_size, encoder.dtype, settings.handoff.wire)
        limits = clip_limits(settings.limits, layout, settings.handoff.max_payload_bytes)
        jpeg = open_jpeg(settings.jpeg, encoder.device, limits.max_pixels)
        backlog = Backlog(waiting_for(self.model_name), settings.max_queued)
        wait = ExpectedWait(self.handoff.queue, self.batch_size, settings.max_wait_s)
        self.service = EncodeService(
            encoder,
            ClipReader(limits, config.patch_size, self.pictures, jpeg, settings.region_folder),
            Admission(self.batch_size, backlog, self.handoff, wait, self.drain.accept),
            self.handoff,
            self.requests,
            self.metrics,
            self.guard,
        )

    def outgoing(self, request: Request, answer: Answer) -> Answer:
        """In a workflow, an answer that is not a ticket is signed, so that the decoder can pass it on."""
        return self.service.outgoing(request, answer)

    def serve(self, requests: Sequence[Request], outbox: Outbox) -> list[Answer]:
        """A ticket per request."""
        return self.service.serve(requests, outbox)
