"""TorchServe's model "eden_fused": frames in, the frames between out, both halves in one worker per GPU."""

from __future__ import annotations

from collections.abc import Sequence

from eden import DitDecoder, Encoder
from handlers.node import NodeHandler
from handlers.quirks import waiting_for
from serving.admission import Admission
from serving.answer import Answer
from serving.backlog import Backlog
from serving.decode import Drawing
from serving.encode import ClipReader
from serving.fused import FusedService
from serving.jpeg import open_jpeg
from serving.limits import TokenLayout, clip_limits
from serving.outbox import Outbox
from serving.request import Request


class FusedHandler(NodeHandler):
    """Reads a request's frames, encodes them, draws the frames between, and encodes these as asked."""

    hands_off = False

    def start(self) -> None:
        """Load the whole checkpoint, and warm up for the frame sizes in the settings."""
        settings = self.settings
        encoder = Encoder.load(settings.checkpoint, self.device, settings.precision)
        decoder = DitDecoder.load(settings.checkpoint, self.device, settings.precision)
        self.metrics.watch("encoder", lambda: encoder.out_of_memory)
        self.metrics.watch("decoder", lambda: decoder.engine.out_of_memory)
        encoder.warm(settings.warm, self.batch_sizes())
        decoder.warm(settings.warm, self.batch_sizes())
        config = encoder.config
        layout = TokenLayout(config.hidden_dim, config.patch_size, encoder.dtype)
        limits = clip_limits(settings.limits, layout, payload=None)
        jpeg = open_jpeg(settings.jpeg, encoder.device, limits.max_pixels)
        backlog = Backlog(waiting_for(self.model_name), settings.max_queued)
        self.service = FusedService(
            encoder,
            Drawing(decoder, self.requests, self.pictures, self.metrics, jpeg, settings.region_folder),
            ClipReader(limits, config.patch_size, self.pictures, jpeg, settings.region_folder),
            layout,
            Admission(self.batch_size, backlog, accept=self.drain.accept),
            self.requests,
            self.metrics,
            self.guard,
        )

    def serve(self, requests: Sequence[Request], outbox: Outbox) -> list[Answer]:
        """Frames per request."""
        return self.service.serve(requests, outbox)
