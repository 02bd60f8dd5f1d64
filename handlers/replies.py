"""Answers back to TorchServe, in as many messages as it takes them in fastest.

A handler's return value is one message for the whole batch, and TorchServe 0.12.0 decodes a message anew from its
start for every 64 KB of it that arrive: 8 answers of 20 MB took 75 to 94 s, or failed; each as a message of its own
2.5 s. So a large answer goes ahead by itself, by the call that is meant for streamed answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ts.handler_utils.utils import send_intermediate_predict_response

from handlers.answer import Answer

LARGE = 64 << 10
"""Bytes from which an answer goes by itself."""
PIECE = 1 << 20
"""Bytes of one message of an answer that may come in pieces: over HTTP, outside a workflow."""


def send(context: Any, index: int, body: bytes, content_type: str) -> None:
    """Send bytes to one caller of the batch at once; more may follow. The first call settles the content type."""
    context.set_response_content_type(index, content_type)
    ids = {index: context.request_ids[index]}
    send_intermediate_predict_response({index: body}, ids, "Prediction success", 200, context)


def reply(answers: Sequence[Answer], callers: Sequence[str], context: Any) -> list[bytes]:
    """What `handle` returns; the large answers have been sent by then.

    callers: "http", who reads an answer to its end, however many messages it takes; "workflow", which keeps the first
    message only; "grpc", whose unary call ends with the first message: a second one, even an empty one, makes
    TorchServe's thread for this worker throw, and the worker never comes back.
    """
    for index, answer in enumerate(answers):
        context.set_response_status(code=answer.status, idx=index)
        context.set_response_content_type(index, answer.content_type)
    return [
        _ahead(context, index, answer, caller) if len(answer.body) >= LARGE and caller != "grpc" else answer.body
        for index, (answer, caller) in enumerate(zip(answers, callers, strict=True))
    ]


def _ahead(context: Any, index: int, answer: Answer, caller: str) -> bytes:
    step = PIECE if caller == "http" else len(answer.body)
    for start in range(0, len(answer.body), step):
        send(context, index, answer.body[start : start + step], answer.content_type)
    return b""
