"""The DiT + decoder node: a ticket in, the frames between out."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import torch

from eden import DitDecoder
from handlers.answer import Answer, encode_answer
from handlers.faults import BadRequest
from handlers.fields import as_bytes
from handlers.options import read_options
from handlers.replies import Replies
from handlers.stage import Item, Stage
from handlers.streaming import stream_group

BODY = ("body", "data", "ticket")
"""Names under which a ticket may come: a raw body, gRPC's usual key, a form field."""


class DitDecoderHandler(Stage):
    """Takes the tokens that a ticket stands for, draws the frames between, and encodes them as asked."""

    def load(self) -> None:
        """Load the DiT's and the decoder's half of the checkpoint, and be ready for the sizes named."""
        self.decoder = DitDecoder.load(self.settings.checkpoint, self.device, self.settings.precision)
        self.decoder.warm(self.settings.warm, self.batch_sizes)

    def serve(self, items: list[Item], replies: Replies) -> None:
        """Streamed clips first, frame by frame; then the others, drawn together, each encoded by itself."""
        for item in items:
            item.attempt(self._read_ticket)
        streamed = [item for item in items if item.work.get("stream")]
        whole = [item for item in items if not item.work.get("stream")]
        self.group(streamed, partial(stream_group, self, replies=replies))
        with self.metrics.stage("take"):
            for item in whole:
                item.attempt(self._take)
        self.group(whole, partial(self.compute, step=self.interpolate))
        with self.metrics.stage("image_encode"):
            self.side_by_side(whole, partial(self._encode, replies=replies))

    def interpolate(self, group: list[Item]) -> None:
        """Draw the frames between of clips of one grid: work["between"], [K-1, H, W, 3] uint8 each."""
        with self.metrics.stage("denoise_decode"):
            seeds = [item.work["seed"] for item in group]
            drawn = self.decoder.interpolate([item.work["output"] for item in group], seeds=seeds, as_uint8=True)
            for item, frames in zip(group, drawn, strict=True):
                item.work["between"] = _as_pictures(frames)
        self.metrics.pairs(sum(map(len, drawn)))

    def _read_ticket(self, item: Item) -> None:
        name = next((name for name in BODY if name in item.fields), BODY[0])
        body = as_bytes(name, item.fields.get(name, b""))
        if not body:
            raise BadRequest("no ticket: send the bytes that the encoder answered, as application/octet-stream")
        refusal = self.handoff.read_refusal(body)
        if refusal is not None:
            item.answer = Answer.envelope(json.loads(refusal))
            return
        ticket = self.handoff.read(body)
        rest = {name: value for name, value in item.fields.items() if name not in BODY}
        asked = read_options(rest, item.headers).explicit()
        stream = asked.pop("stream", False) and item.caller != "workflow"
        said = asked | ticket.options
        default = "png" if stream and said["answer"] in ("mp4", "zip") else said["answer"]
        item.work = {
            "ticket": ticket,
            "grid": ticket.grid,
            "seed": said.get("seed", 0),
            "format": said.get("format", default),
            "quality": said.get("quality"),
            "fps": said.get("fps"),
            "stream": stream,
        }

    def _take(self, item: Item) -> None:
        item.work["output"] = self.handoff.take(item.work["ticket"])

    def _encode(self, item: Item, replies: Replies) -> None:
        source = item.work["output"].frames
        item.answer = encode_answer(
            item.work["between"],
            None if source is None else _as_pictures(source),
            item.work["format"],
            item.work["quality"],
            item.work["fps"],
            self.pictures.map,
        )
        replies.ahead(item.index, item.answer)


def _as_pictures(frames: torch.Tensor) -> np.ndarray:
    """[K, 3, H, W] uint8 on any device -> [K, H, W, 3] on the CPU."""
    return frames.permute(0, 2, 3, 1).contiguous().cpu().numpy()
