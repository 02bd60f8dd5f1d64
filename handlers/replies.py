"""Answers back to TorchServe, in as many messages as it takes them in fastest.

A handler's return value is one message for the whole batch, and TorchServe 0.12.0 decodes a message anew from its
start for every 64 KB of it that arrive: 8 answers of 20 MB took 75 to 94 s, or failed; each as a message of its own
2.5 s. So a large answer goes ahead by itself, by the call that is meant for streamed answers, and as soon as it is
there: while it passes through the socket, the others' pictures are still being packed.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any

from ts.handler_utils.utils import send_intermediate_predict_response

from handlers.answer import Answer

LARGE = 64 << 10
"""Bytes from which an answer goes by itself."""
PIECE = 1 << 20
"""Bytes of one message of an answer that may come in pieces: over HTTP, outside a workflow."""


class Replies:
    """The way back for one batch; its threads may send at the same time. What has gone cannot be taken back.

    callers: "http", who reads an answer to its end, however many messages it takes; "workflow", which keeps the first
    message only; "grpc", whose unary call ends with the first message: a second one, even an empty one, makes
    TorchServe's thread for this worker throw, and the worker never comes back. A streaming call may get several, but
    nothing tells the two apart, so by default a gRPC caller gets what is sent in one message, the last.
    grpc_streaming: an operator's word that no gRPC caller who asks for a stream makes a unary call.
    """

    def __init__(self, context: Any, callers: Sequence[str], grpc_streaming: bool = False) -> None:
        self._context, self._callers = context, callers
        self._held = {i: bytearray() for i, caller in enumerate(callers) if caller == "grpc" and not grpc_streaming}
        self._gone: set[int] = set()
        self._one_at_a_time = Lock()

    def send(self, index: int, body: bytes, content_type: str) -> None:
        """Send bytes to one caller at once, where it may get several messages; more may follow.

        The first call settles the content type.
        """
        if index in self._held:
            self._held[index] += body
            return
        with self._one_at_a_time:
            self._context.set_response_content_type(index, content_type)
            ids = {index: self._context.request_ids[index]}
            send_intermediate_predict_response({index: body}, ids, "Prediction success", 200, self._context)

    def ahead(self, index: int, answer: Answer) -> None:
        """Send a large answer now; a small one waits for the message that ends the batch."""
        if index in self._gone or len(answer.body) < LARGE or self._callers[index] == "grpc":
            return
        self._gone.add(index)
        self._context.set_response_status(code=answer.status, idx=index)
        step = PIECE if self._callers[index] == "http" else len(answer.body)
        for start in range(0, len(answer.body), step):
            self.send(index, answer.body[start : start + step], answer.content_type)

    def rest(self, answers: Sequence[Answer]) -> list[bytes]:
        """What `handle` returns: all that has not gone yet. `answers`: one for each of the batch, in its order."""
        for index, answer in enumerate(answers):
            self._context.set_response_status(code=answer.status, idx=index)
            self._context.set_response_content_type(index, answer.content_type)
            if self._callers[index] == "grpc":
                # In a streaming call TorchServe throws over a message without this header, and ends the worker; a unary
                # call does not mind it.
                self._context.set_response_header(index, "ts_stream_next", "false")
            self.ahead(index, answer)
        return [self._last(index, answer) for index, answer in enumerate(answers)]

    def _last(self, index: int, answer: Answer) -> bytes:
        if index in self._gone:
            return b""
        return bytes(self._held[index]) + answer.body if index in self._held else answer.body
