"""The encoder node: frames in, a ticket for their tokens out."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch

from eden import Encoder, padded_grid
from handlers.answer import Answer
from handlers.backlog import Backlog, waiting_for
from handlers.clip import read_clip
from handlers.options import own_rate, read_options
from handlers.replies import Replies
from handlers.stage import Item, Stage
from handlers.waiting import Waiting
from handoff import OverCapacity

TICKET = "application/vnd.eden.ticket"
REFUSAL = "application/vnd.eden.refusal"


class EncoderHandler(Stage):
    """Reads a request's frames, encodes them, and puts the tokens where dit_decoder can take them."""

    def initialize(self, context: Any) -> None:
        """As any stage; and watch what waits for this one, and for the next."""
        super().initialize(context)
        self.backlog = Backlog(waiting_for(context.model_name), self.settings.max_queued, self.settings.workers)
        self.waiting = Waiting(self.handoff.queue, self.batch_sizes[-1], self.settings.max_wait_s)

    def load(self) -> None:
        """Load the encoder's half of the checkpoint, and be ready for the sizes named."""
        self.encoder = Encoder.load(self.settings.checkpoint, self.device, self.settings.precision)
        self.encoder.warm(self.settings.warm, self.batch_sizes)

    def serve(self, items: list[Item], replies: Replies) -> None:
        """Refuse what is too much, read the rest, encode it together, put it."""
        self.backlog.batch(full=len(items) == self.batch_sizes[-1])
        self.waiting.look()
        room = self.handoff.room()
        for item in items:
            item.attempt(partial(self._admit, room=room))
        with self.metrics.stage("image_decode"):
            self.side_by_side(items, self._read)
        self.group(items, partial(self.compute, step=self._encode))
        with self.metrics.stage("put"):
            for item in items:
                item.attempt(self._put)

    def outgoing(self, item: Item, answer: Answer) -> Answer:
        """In a workflow what is no ticket goes to dit_decoder too, which must know it for ours."""
        if item.caller == "workflow" and answer.content_type != TICKET:
            return Answer(self.handoff.refuse(answer.body), REFUSAL, answer.status)
        return answer

    def _admit(self, item: Item, room: int) -> None:
        """Overload is refused here, before any work: TorchServe's own queue would leak a thread a refusal."""
        if self.backlog.is_surplus():
            raise OverCapacity(f"more than {self.settings.max_queued} requests wait for the encoder: try again later")
        if item.index >= room:
            bound = self.settings.handoff.max_in_flight
            raise OverCapacity(f"{bound} clips wait for the decoder already, the most that may: try again later")
        self.waiting.check(item.index)

    def _read(self, item: Item) -> None:
        options = read_options(item.fields, item.headers)
        clip = read_clip(item.fields, self.settings.limits, self.pictures.map)
        frames = torch.from_numpy(clip.frames).permute(0, 3, 1, 2)
        said = options.explicit()
        said["answer"] = clip.answer
        if clip.rate is not None and "fps" not in said and said.get("format", clip.answer) == "mp4":
            said["fps"] = own_rate(clip.rate)
        item.work = {"frames": frames, "options": said}
        item.work["grid"] = padded_grid(*frames.shape[2:], self.encoder.config.patch_size)

    def _encode(self, group: list[Item]) -> None:
        with self.metrics.stage("encode"):
            outputs = self.encoder.encode_clips([item.work["frames"] for item in group])
        for item, output in zip(group, outputs, strict=True):
            item.work["output"] = output

    def _put(self, item: Item) -> None:
        output, options = item.work["output"], item.work["options"]
        if options.get("format", options["answer"]) == "mp4":
            output = replace(output, frames=item.work["frames"])
        by_caller = item.caller != "workflow"
        item.answer = Answer(self.handoff.put(output, options, by_caller=by_caller), TICKET)
