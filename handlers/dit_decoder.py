"""TorchServe's model "dit_decoder": a ticket in, the frames between out."""

from __future__ import annotations

from collections.abc import Sequence

from eden import DitDecoder
from handlers.node import NodeHandler
from handlers.quirks import NodePosition
from serving.answer import Answer
from serving.decode import DecodeService, Drawing
from serving.jpeg import open_jpeg
from serving.limits import LARGEST_FRAME
from serving.outbox import Outbox
from serving.request import Request


class DitDecoderHandler(NodeHandler):
    """Takes the tokens that a ticket stands for, draws the frames between, and encodes them as asked."""

    position = NodePosition.LAST

    def start(self) -> None:
        """Load the decoder's half of the checkpoint, and warm up for the frame sizes in the settings."""
        assert self.handoff
        decoder = DitDecoder.load(self.settings.checkpoint, self.device, self.settings.precision)
        self.metrics.watch("decoder", lambda: decoder.engine.out_of_memory)
        decoder.warm(self.settings.warm, self.batch_sizes())
        jpeg = open_jpeg(self.settings.jpeg, decoder.device, LARGEST_FRAME)
        regions = self.settings.region_folder
        drawing = Drawing(decoder, self.requests, self.pictures, self.metrics, jpeg, regions)
        self.service = DecodeService(drawing, self.handoff, self.metrics, self.guard, self.drain.hold)

    def serve(self, requests: Sequence[Request], outbox: Outbox) -> list[Answer]:
        """Frames per request."""
        return self.service.serve(requests, outbox)
