"""Frames sent back as they are made: one part of a multipart/x-mixed-replace answer each.

Only where the caller asked for it, and never in a workflow, where TorchServe keeps the first part and loses the rest.
A gRPC caller gets the same parts in one message, unless grpc_streaming is set (see `Replies`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from eden import EncoderOutput
from handlers.answer import STREAM_CONTENT_TYPE, Answer, as_part, encode_part, stream_end
from handlers.replies import Replies
from handlers.stage import Item

if TYPE_CHECKING:
    from handlers.dit_decoder import DitDecoderHandler


def stream_group(stage: DitDecoderHandler, group: list[Item], replies: Replies) -> None:
    """Draw the clips of a group side by side, pair by pair, and send each frame to its caller at once, if allowed.

    A clip that fails before its first frame gets a plain error; a later failure ends its stream with an error part.
    """
    pairs = {item.index: stage.handoff.stream(item.work["ticket"]) for item in group}
    sent: set[int] = set()
    while drawing := [item for item in group if item.answer is None]:
        for item in drawing:
            item.attempt(lambda item: _next_pair(item, pairs[item.index]))
        stage.compute([item for item in drawing if item.answer is None], stage.interpolate)
        stage.side_by_side(drawing, _encode)
        for item in drawing:
            if item.answer is None:
                replies.send(item.index, item.work["part"], STREAM_CONTENT_TYPE)
                sent.add(item.index)
    for item in group:
        if item.index in sent and item.answer and item.answer.content_type != STREAM_CONTENT_TYPE:
            error = as_part(item.answer.body, item.answer.content_type)
            item.answer = Answer(error + stream_end(), STREAM_CONTENT_TYPE)


def _next_pair(item: Item, pairs: Iterator[EncoderOutput]) -> None:
    output = next(pairs, None)
    if output is None:
        item.answer = Answer(stream_end(), STREAM_CONTENT_TYPE)
    else:
        item.work["output"] = output


def _encode(item: Item) -> None:
    item.work["part"] = encode_part(item.work["between"][0], item.work["format"], item.work["quality"])
