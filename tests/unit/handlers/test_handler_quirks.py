"""What TorchServe reads from a worker's socket: every answer once and whole, large ones ahead of the rest."""

import os
import socket
import struct
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from threading import Thread
from types import SimpleNamespace

import pytest
from ts.context import Context, RequestProcessor
from ts.protocol.otf_message_handler import create_predict_response

from handlers import quirks
from handlers.quirks import LARGE, PIECE, NodePosition, Replies, read_request
from server import pause
from serving.answer import Answer
from serving.request import Caller

CALLERS = (Caller.WORKFLOW, Caller.HTTP, Caller.GRPC, Caller.WORKFLOW, Caller.HTTP, Caller.HTTP)
ANSWERS = (
    Answer(b"w" * (3 * LARGE), "image/jpeg"),
    Answer(bytes(range(256)) * (10 << 10), "application/zip"),
    Answer(b"g" * (2 * LARGE), "image/png"),
    Answer(b"small", "image/webp"),
    Answer(b'{"code": 503}', "application/json", 503),
    Answer(b"h" * (5 * PIECE + 1), "application/x-npy"),
)


@pytest.fixture
def wire():
    """A batch's context, and what has arrived at the other end of its socket once that is closed."""
    near, far = socket.socketpair()
    arrived = bytearray()
    reader = Thread(target=lambda: [arrived.extend(part) for part in iter(lambda: far.recv(1 << 16), b"")])
    reader.start()
    context = Context("encoder", ".", {}, len(CALLERS), None, "0.12.0")
    context.request_ids = {index: f"id-{index}" for index in range(len(CALLERS))}
    context.request_processor = [RequestProcessor({}) for _ in CALLERS]
    context.cl_socket = near

    def read() -> bytes:
        near.close()
        reader.join()
        return bytes(arrived)

    yield context, read
    near.close()
    reader.join()
    far.close()


def messages(data: bytes) -> list[list[tuple[str, str, int, bytes]]]:
    """TorchServe's messages, each a list of (request id, content type, status, body)."""
    return [[(name, kind, status, body) for name, kind, status, _, body in message] for message in read_all(data)]


def read_all(data: bytes) -> list[list[tuple[str, str, int, dict[str, str], bytes]]]:
    """The same, with the headers before the body."""
    at, found = 0, []

    def number() -> int:
        nonlocal at
        at += 4
        return struct.unpack("!i", data[at - 4 : at])[0]

    def text(length: int) -> bytes:
        nonlocal at
        at += length
        return data[at - length : at]

    while at < len(data):
        number(), text(number())  # code and message of the whole
        found.append([])
        while (length := number()) != -1:
            name, kind, status = text(length), text(number()), number()
            text(number())
            headers = {}
            for _ in range(number()):
                key = text(number()).decode()
                headers[key] = text(number()).decode()
            found[-1].append((name.decode(), kind.decode(), status, headers, text(number())))
    return found


def test_every_answer_arrives_once_and_whole_however_they_are_sent(wire):
    context, read = wire
    replies = Replies(context, CALLERS)
    with ThreadPoolExecutor(len(CALLERS)) as pool:  # all but the last go ahead, side by side, where they may
        list(pool.map(replies.ahead, range(5), ANSWERS))
    last = replies.rest(ANSWERS)
    context.cl_socket.sendall(create_predict_response(last, context.request_ids, "Prediction success", 200, context))
    *ahead, end = messages(read())

    bodies, pieces = defaultdict(bytes), defaultdict(int)
    for message in ahead:
        ((name, kind, status, body),) = message
        index = int(name.removeprefix("id-"))
        assert (kind, status) == (ANSWERS[index].content_type, 200)
        bodies[index] += body
        pieces[index] += 1
    assert pieces == {0: 1, 1: 3, 5: 6}
    assert [name for name, *_ in end] == [f"id-{index}" for index in range(6)]
    for index, (_, kind, status, body) in enumerate(end):
        assert (kind, status) == (ANSWERS[index].content_type, ANSWERS[index].status)
        assert (body == b"") == (index in bodies)
        assert bodies[index] + body == ANSWERS[index].body


def test_streamed_parts_come_as_they_are_sent(wire):
    context, read = wire
    replies = Replies(context, CALLERS)
    for part in (b"one", b"two"):
        replies.send(1, part, "multipart/x-mixed-replace")
    assert messages(read()) == [[("id-1", "multipart/x-mixed-replace", 200, part)] for part in (b"one", b"two")]


def finish(context, replies: Replies, answers) -> None:
    last = replies.rest(answers)
    context.cl_socket.sendall(create_predict_response(last, context.request_ids, "Prediction success", 200, context))


def test_a_grpc_caller_gets_all_parts_in_one_message_and_is_told_that_it_is_the_last(wire):
    context, read = wire
    replies = Replies(context, CALLERS)
    for part in (b"one", b"two"):
        replies.send(2, part, "multipart/x-mixed-replace")
    finish(context, replies, [Answer(b"end", "multipart/x-mixed-replace")] * len(CALLERS))
    (message,) = read_all(read())
    assert [body for *_, body in message] == [b"onetwoend" if caller is Caller.GRPC else b"end" for caller in CALLERS]
    words = [headers.get("ts_stream_next") for *_, headers, _ in message]
    assert words == ["false" if caller is Caller.GRPC else None for caller in CALLERS]


def test_where_an_operator_says_so_a_grpc_caller_gets_parts_as_they_are_sent(wire):
    context, read = wire
    replies = Replies(context, CALLERS, grpc_streaming=True)
    replies.send(2, b"one", "multipart/x-mixed-replace")
    finish(context, replies, [Answer(b"end", "multipart/x-mixed-replace")] * len(CALLERS))
    ((first,), last) = read_all(read())
    assert (first[3]["ts_stream_next"], first[4]) == ("true", b"one")
    assert (last[2][3]["ts_stream_next"], last[2][4]) == ("false", b"end")


def test_the_first_node_of_a_workflow_answers_in_one_message_whoever_calls(wire):
    context, read = wire
    replies = Replies(context, CALLERS, position=NodePosition.FIRST)
    finish(context, replies, ANSWERS)
    *ahead, _ = messages(read())
    assert sorted(name for ((name, *_),) in ahead) == ["id-0", "id-1", "id-5"]  # each once
    assert all(body == ANSWERS[int(name[-1])].body for ((name, _, _, body),) in ahead)


MARKED = {"url_path": "", "explain": "False", "Host": "h"}
TYPED = {"body": {"content-type": "application/octet-stream"}}
UNTYPED = {"body": {"content-type": ""}}
BODY = {"body": b"x"}
FORM = {"ticket": b"x"}


@pytest.mark.parametrize(
    ("position", "properties", "fields", "caller"),
    [
        (NodePosition.FIRST, MARKED | TYPED, BODY, Caller.HTTP),
        (NodePosition.FIRST, MARKED | UNTYPED, BODY, Caller.HTTP),
        (NodePosition.FIRST, {"Host": "h"} | TYPED, BODY, Caller.WORKFLOW),
        (NodePosition.FIRST, {"Host": "h", "url_path": ""} | TYPED, BODY, Caller.WORKFLOW),
        (NodePosition.FIRST, {"Host": "h", "Url_Path": "", "Explain": "False"} | TYPED, BODY, Caller.WORKFLOW),
        (NodePosition.FIRST, TYPED, BODY, Caller.GRPC),
        (NodePosition.LAST, MARKED | TYPED, BODY, Caller.HTTP),
        (NodePosition.LAST, MARKED | {"ticket": {"content-type": ""}}, FORM, Caller.HTTP),
        (NodePosition.LAST, MARKED | UNTYPED, BODY, Caller.WORKFLOW),  # the marks are forged
        (
            NodePosition.LAST,
            MARKED | {"body": "application/octet-stream"},
            BODY,
            Caller.WORKFLOW,
        ),  # and a header called body
        (NodePosition.LAST, {"Host": "h"} | UNTYPED, BODY, Caller.WORKFLOW),
        (NodePosition.LAST, UNTYPED, BODY, Caller.GRPC),
        (NodePosition.ALONE, {"Host": "h"} | TYPED, BODY, Caller.HTTP),
        (NodePosition.ALONE, TYPED, BODY, Caller.GRPC),
    ],
)
def test_who_calls_is_not_for_a_caller_to_say(wire, position, properties, fields, caller):
    context, _ = wire
    context.request_processor = [RequestProcessor(properties)]
    request = read_request(context, 0, fields, position)
    assert request.caller is caller
    assert set(request.headers) == {name.lower() for name, value in properties.items() if isinstance(value, str)}


def test_a_call_is_ended_alone_while_its_batch_goes_on(wire):
    context, read = wire
    replies = Replies(context, CALLERS)
    replies.send(5, b"part", "multipart/x-mixed-replace")
    end = Answer(b"end", "multipart/x-mixed-replace")
    picture, refusal = Answer(b"soon", "image/png"), Answer(b'{"code": 503}', "application/json", 503, retry_after=7)
    answers = [Answer(b"w", "image/png"), picture, Answer(b"g", "image/png"), ANSWERS[3], refusal, end]
    assert [replies.finish(index, answers[index]) for index in (0, 1, 2, 4, 5)] == [True, True, False, True, True]
    finish(context, replies, answers)
    _, workflow, *ended, last = read_all(read())
    assert [(name, headers["ts_stream_next"], body) for name, _, _, headers, body in workflow] == [
        ("id-0", "true", b"w")
    ]
    told = [
        [(name, status, headers.get("ts_stream_next"), body) for name, _, status, headers, body in message]
        for message in ended
    ]
    assert told == [
        [("id-1", 200, "true", b"soon"), ("id-1", 200, "false", b"")],
        [("id-4", 503, None, b'{"code": 503}'), ("id-4", 503, "true", b"")],
        [("id-5", 200, "true", b"end"), ("id-5", 200, "false", b"")],
    ]
    assert [headers.get("Retry-After") for message in ended for _, _, _, headers, _ in message[:1]] == [None, "7", None]
    assert [name for name, *_ in last] == ["id-0", "id-2", "id-3"]


def test_an_answer_that_went_ahead_is_ended_with_nothing_more(wire):
    context, read = wire
    replies = Replies(context, CALLERS)
    assert replies.ahead(5, ANSWERS[5])
    assert replies.finish(5, Answer(b"", ANSWERS[5].content_type))
    *pieces, end = read_all(read())
    assert b"".join(body for ((*_, body),) in pieces) == ANSWERS[5].body
    assert [(headers["ts_stream_next"], body) for *_, headers, body in end] == [("true", b""), ("false", b"")]


def test_no_call_is_ended_before_its_answer_could_be_lost(wire, monkeypatch):
    context, _ = wire
    waited = []
    monkeypatch.setattr(quirks, "pause_until", waited.append)
    replies = Replies(context, CALLERS)
    replies.finish(1, Answer(b"soon", "image/png"))
    assert waited == [replies._started]


@pytest.mark.parametrize(("load", "now", "times"), [(0.1, 1, 1), (2, 2, 1), (6, 1, 3), (0.8, 7, 3.5), (400, 2, 10)])
def test_on_a_busy_machine_answers_come_later(monkeypatch, tmp_path, load, now, times):
    """Busy in this moment, as 7 threads on 2 processors are, or in the last minute on average."""
    slept = []
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(pause, "LOAD", tmp_path / "loadavg")
    pause.LOAD.write_text(f"{load:.2f} 3.00 2.00 {now}/312 4711\n")
    monkeypatch.setattr(pause, "time", SimpleNamespace(monotonic=lambda: 5.001, sleep=slept.append))
    pause.pause_until(5.0)
    assert slept == [pytest.approx(times * pause.LEAST_SECONDS - 0.001)]


def test_how_busy_the_machine_is_can_be_read():
    assert 0 <= pause.busyness() < 10_000


def test_a_refusal_says_when_to_come_back(wire):
    context, read = wire
    replies = Replies(context, CALLERS)
    finish(context, replies, [Answer(b"{}", "application/json", 503, retry_after=3)] * len(CALLERS))
    (message,) = read_all(read())
    assert {headers["Retry-After"] for *_, headers, _ in message} == {"3"}
