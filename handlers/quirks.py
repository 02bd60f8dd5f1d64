"""What TorchServe 0.12.0 does that a handler has to know; a test shows each of these.

Answers   A handler's return value is one message for the whole batch, and TorchServe decodes a message anew from its
          start for every 64 KB of it that arrive: 8 answers of 20 MB took 75 to 94 s, or failed; each as a message of
          its own 2.5 s. So a large answer goes ahead by itself, by the call that is meant for streamed answers, and as
          soon as it is there: while it passes through the socket, the others' pictures are still being packed.
          An answer that comes within about a millisecond may be lost.
Ends      A batch is over with the first message in which no item says `ts_stream_next: true`, and each item's HTTP
          response ends with that message. One that names an item twice, first to go on and then to end, ends that
          response alone: what is urgent need not wait for the rest of its batch. The item is missing from the
          batch's last message, which would write to a connection that may serve another call by then. An error closes
          its connection as it is written, so it goes whole, and "to go on" after it goes nowhere.
Leaving   A handler does not learn that a caller has gone away: TorchServe checks connections for sequences of requests
          only. The request is given to a worker, and computed, like any other.
gRPC      A unary call ends with the first message; a second one makes TorchServe's thread for the worker throw, and the
          worker never comes back. A streaming call that gets a single plain message ends the worker. A handler cannot
          tell the two apart.
          If a caller leaves after TorchServe has checked that it is there and before its call ends, the thread throws
          as well ("call already closed"), and the worker is started anew: no handler can prevent it.
Fields    `ts.service.Service` makes a dict of a request's parameters, so of two fields named `frames` only the last
          arrives. And it parses fields whose content type is JSON: a few megabytes of brackets become gigabytes of
          Python lists before a handler is called, and a seed of 7 becomes an int.
Headers   /predictions/ calls have the headers `url_path` and `explain`, which TorchServe sets over a caller's own;
          a gRPC call has no headers. In a workflow both nodes see the caller's headers unchanged, so a caller can make
          the first node take the call for one of /predictions/. The second node can tell: it gets a single field
          `body` without a content type, which no header can change.
Memory    By default glibc maps a frame's memory anew each time, and every page of it costs a fault: of the 4.6 ms in
          which a JPEG of 854x480 became an array, 3.1 were page faults (a virtual machine, two cores; bare metal pays
          less), most of them while the interpreter's lock was held.
Metrics   A histogram's buckets are fixed, a counter's labels are free: see handlers.reporter. A handler does not learn
          when a request came: of its wait in the queue there is only a sum (ts_queue_latency_microseconds).
Queue     A handler sees only its batch: the management interface alone knows how many requests wait.
Messages  `handle` returns before its answer is written. After writing it, a worker reads one byte: the kind of the next
          message.
Devices   Where there are fewer GPUs than `deviceIds` names, the list is ignored.
"""

from __future__ import annotations

import ctypes
import logging
import os
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import partial
from threading import Lock
from typing import Any

import psutil
import torch
from ts.protocol import otf_message_handler
from ts.protocol.otf_message_handler import create_predict_response
from ts.service import Service

from server.pause import pause_until
from serving.answer import Answer
from serving.errors import TooLarge, envelope
from serving.request import Caller, Request

logger = logging.getLogger(__name__)

LARGE = 64 << 10
"""Answers of at least so many bytes are sent ahead of their batch, each as a message of its own."""
PIECE = 1 << 20
"""Bytes per message of an answer that may be sent in pieces: over HTTP, outside a workflow."""
MESSAGE = 1 << 30
"""Bytes of a message from which TorchServe would end the worker: `max_response_size` in config.properties."""
_SUCCESS = "Prediction success"
_BEGIN = struct.pack("!ii", 200, len(_SUCCESS)) + _SUCCESS.encode()
_END = struct.pack("!i", -1)
"""The bytes before and after the items of a message to TorchServe."""
MARKS = ("url_path", "explain")
"""Headers that TorchServe sets on /predictions/ calls."""


class NodePosition(Enum):
    """A node's position in the workflow, on which it depends who can call it."""

    ALONE = "alone"
    """It is in no workflow."""
    FIRST = "first"
    """Its requests come unchanged: a caller who forges TorchServe's headers is taken for one of /predictions/."""
    LAST = "last"
    """Its requests are the first node's answers."""


class Replies:
    """Sends the answers of one batch. Thread-safe. An answer that has been sent cannot be taken back.

    callers: per request. An HTTP caller gets an answer in any number of messages; a workflow keeps the first message
    only; a gRPC caller gets one message, the last, unless `grpc_streaming`.
    grpc_streaming: the operator asserts that every gRPC caller who asks for a stream makes a streaming call.
    position: the first node of a workflow never answers in pieces, since it cannot be sure who its caller is.
    """

    def __init__(
        self,
        context: Any,
        callers: Sequence[Caller],
        grpc_streaming: bool = False,
        position: NodePosition = NodePosition.ALONE,
    ) -> None:
        self._context, self._callers, self._position = context, callers, position
        self._held = {
            i: bytearray() for i, caller in enumerate(callers) if caller is Caller.GRPC and not grpc_streaming
        }
        self.left: dict[int, float] = {}
        """For answers that were sent ahead of the batch: when (time.time()), by index."""
        self._ended: set[int] = set()
        self._started = time.monotonic()
        self._one_at_a_time = Lock()

    def send(self, index: int, body: bytes, content_type: str) -> None:
        """Send part of an answer; at once if its caller can get several messages. More parts may follow.

        The first part's content type holds for the whole answer.
        """
        if index in self._held:
            self._held[index] += body
            return
        with self._one_at_a_time:
            self._context.set_response_content_type(index, content_type)
            self._context.cl_socket.sendall(self._message(index, body, more=True))

    def ahead(self, index: int, answer: Answer) -> bool:
        """Send a large answer now and return True; a small one waits for the message that ends the batch: False."""
        if index in self.left or len(answer.body) < LARGE or self._callers[index] is Caller.GRPC:
            return index in self.left
        self.left[index] = time.time()
        self._context.set_response_status(code=answer.status, idx=index)
        in_pieces = self._callers[index] is Caller.HTTP and self._position is not NodePosition.FIRST
        step = PIECE if in_pieces else len(answer.body)
        for start in range(0, len(answer.body), step):
            self.send(index, answer.body[start : start + step], answer.content_type)
        return True

    def finish(self, index: int, answer: Answer) -> bool:
        """Answer one request and end its call, while others of the batch go on. To be called from one thread only.

        `rest` then leaves this request out. Returns False, having sent nothing, if the call cannot be ended this way:
        for a gRPC caller; and for an error whose caller may be the workflow or one of /predictions/, which need
        different messages.
        """
        caller = self._callers[index]
        doubtful = caller is Caller.WORKFLOW and self._position is NodePosition.LAST and answer.status >= 400
        if caller is Caller.GRPC or doubtful:
            return False
        pause_until(self._started)
        body = b"" if index in self.left else answer.body
        self.left.setdefault(index, time.time())
        if caller is Caller.WORKFLOW:  # the first message is its answer, whatever else comes
            if body:
                self.send(index, body, answer.content_type)
            return True
        self._describe(index, answer)
        whole = answer.status >= 400
        first = self._message(index, body, more=not whole)
        second = self._message(index, b"", more=whole)
        self._context.cl_socket.sendall(first[: -len(_END)] + second[len(_BEGIN) :])
        del self._context.request_ids[index]
        self._ended.add(index)
        return True

    def rest(self, answers: Sequence[Answer]) -> list[bytes]:
        """What `handle` returns: all that has not been sent yet. `answers`: one per request, in order."""
        answers = [self._sendable(index, answer) for index, answer in enumerate(answers)]
        for index, answer in enumerate(answers):
            if index in self._ended:
                continue
            self._describe(index, answer)
            if self._callers[index] is Caller.GRPC:
                end_stream(self._context, index)
            self.ahead(index, answer)
        return [self._last(index, answer) for index, answer in enumerate(answers)]

    def _describe(self, index: int, answer: Answer) -> None:
        """Set status and headers of an answer."""
        self._context.set_response_status(code=answer.status, idx=index)
        self._context.set_response_content_type(index, answer.content_type)
        if answer.retry_after is not None:
            self._context.set_response_header(index, "Retry-After", str(answer.retry_after))

    def _message(self, index: int, body: bytes, more: bool) -> bytes:
        """A message for one caller. `more`: others follow; False after such a message ends the answer."""
        ids = {index: self._context.request_ids[index]}
        message: bytes = create_predict_response({index: body}, ids, _SUCCESS, 200, self._context, more)
        return message

    def _sendable(self, index: int, answer: Answer) -> Answer:
        """The answer, or an error in its place if it is too large for a gRPC caller, who gets it in one message."""
        size = len(self._held.get(index, b"")) + len(answer.body)
        if self._callers[index] is not Caller.GRPC or size <= MESSAGE // len(self._callers):
            return answer
        self._held.pop(index, None)
        message = f"the answer has {size} bytes, too many for gRPC: ask for it over HTTP, or for a shorter clip"
        return Answer.envelope(envelope(TooLarge(message)), TooLarge.__name__)

    def _last(self, index: int, answer: Answer) -> bytes:
        if index in self.left:
            return b""
        return bytes(self._held[index]) + answer.body if index in self._held else answer.body


def end_stream(context: Any, index: int) -> None:
    """Mark the message to a gRPC caller as its last: without the mark, a streaming call would end the worker.

    A unary call ignores the mark. Not for HTTP callers: their answer would never end.
    """
    context.set_response_header(index, "ts_stream_next", "false")


def read_request(context: Any, index: int, fields: Mapping[str, Any], position: NodePosition) -> Request:
    """One request of a batch, with the kind of its caller."""
    properties = context.get_all_request_header(index)  # headers, as text; and the content type of each field
    headers = {name.lower(): value for name, value in properties.items() if isinstance(value, str)}
    caller = _caller(properties, fields, position) if headers else Caller.GRPC
    return Request(index, fields, headers, caller, id=context.get_request_id(index) or "")


def _caller(properties: Mapping[str, Any], fields: Mapping[str, Any], position: NodePosition) -> Caller:
    """The kind of caller of a request that has headers; at the last node, if in doubt, the workflow."""
    if position is NodePosition.ALONE:
        return Caller.HTTP
    if not all(mark in properties for mark in MARKS):
        return Caller.WORKFLOW
    if position is NodePosition.LAST and fields.keys() == {"body"}:
        body = properties.get("body")  # a header of that name hides the type
        typed = isinstance(body, Mapping) and body.get("content-type")
        return Caller.HTTP if typed else Caller.WORKFLOW
    return Caller.HTTP


_read = Service.retrieve_data_for_inference


def keep_fields() -> None:
    """Make this worker keep every form field as bytes, and number fields whose name is repeated in a request."""
    os.environ["TS_DECODE_INPUT_REQUEST"] = "false"  # TorchServe reads it for each field
    Service.retrieve_data_for_inference = staticmethod(_read_numbered)


def _read_numbered(batch: list[dict[str, Any]]) -> Any:
    for request in batch or ():
        number_repeated(request["parameters"])
    return _read(batch)


def number_repeated(parameters: list[dict[str, Any]]) -> None:
    """Number, in place, names that occur more than once: `frames`, `frames` become `frames0`, `frames1`."""
    count = Counter(parameter["name"] for parameter in parameters)
    taken = set(count)
    next_number = {name: 0 for name, times in count.items() if times > 1}
    for parameter in parameters:
        name = parameter["name"]
        if name in next_number:
            while f"{name}{next_number[name]}" in taken:
                next_number[name] += 1
            parameter["name"] = f"{name}{next_number[name]}"
            taken.add(parameter["name"])


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Options of mallopt(3)."""
KEPT = 128 << 20
"""Free bytes at the end of malloc's main heap that are kept; more are given to the kernel."""
LARGEST = 32 << 20
"""Bytes from which a block is mapped by itself, and unmapped when freed: the most that glibc documents."""


def keep_freed_memory() -> bool:
    """Make malloc keep freed memory for the next frame; False if the C library has no such option (musl, macOS).

    Fixed thresholds stop it from mapping large blocks anew each time, and from giving memory back at once.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_MMAP_THRESHOLD, LARGEST) and mallopt(_TRIM_THRESHOLD, KEPT))


def when_answered(call: Callable[[], None]) -> None:
    """Call `call` each time that this worker has written all its answers and waits for the next message."""
    read = otf_message_handler._retrieve_buffer

    def reading(connection: Any, length: int) -> bytearray:
        if length == 1:
            call()
        got: bytearray = read(connection, length)
        return got

    otf_message_handler._retrieve_buffer = reading


def waiting_for(model: str) -> Callable[[], tuple[int, int]]:
    """A function that asks this worker's TorchServe how many requests wait for a model, and how many workers it has.

    The function raises OSError, LookupError or ValueError if the answer cannot be had.
    """
    return partial(_pending, psutil.Process(os.getppid()), model)


def _pending(java: psutil.Process, model: str) -> tuple[int, int]:
    from server.running import api_of  # not in the archive of a node that asks nothing

    try:
        state = api_of(java).describe(model)
        return int(state["jobQueueStatus"]["pendingRequests"]), max(1, len(state["workers"]))
    except psutil.Error as error:
        raise ProcessLookupError(f"TorchServe's process cannot be asked: {error}") from error


def called_at() -> dict[str, str]:
    """Hosts at which this worker's TorchServe is called, by the name of its setting; empty if they are unknown."""
    from server.running import called_at as called_at_by  # not in the archive of a node that asks nothing

    try:
        return called_at_by(psutil.Process(os.getppid()))
    except (psutil.Error, OSError) as error:
        logger.warning("TorchServe's addresses are not to be known: %s", error)
        return {}


def worker_slot() -> str:
    """This worker's slot: the port, or the end of the socket's name, that TorchServe gave it.

    When a worker dies, another one gets its slot.
    """
    for option in ("--sock-name", "--port"):
        if option in sys.argv[:-1]:
            return sys.argv[sys.argv.index(option) + 1].rpartition(".")[2]
    return "0"


def device_of(gpu: int | None, yaml: Mapping[str, Any]) -> str:
    """The device of a worker, "cpu" or "cuda:N"; warns if that is not the one that its yaml names (`deviceIds`).

    TorchServe numbers the GPUs that nvidia-smi lists. A process may see fewer (CUDA_VISIBLE_DEVICES), numbered from 0:
    workers are then spread over those.
    """
    wanted = yaml.get("deviceIds")
    visible = torch.cuda.device_count() if torch.cuda.is_available() else 0
    device = f"cuda:{gpu % visible}" if gpu is not None and visible else "cpu"
    if wanted and (gpu is None or gpu not in wanted or gpu >= visible):
        logger.warning("deviceIds asks for GPU %s, this process sees %d: running on %s", wanted, visible, device)
    return device
