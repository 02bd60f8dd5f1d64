"""Headers, methods and lengths that TorchServe or its handlers might believe; and what TorchServe itself fails over."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

import media
from server import Server
from tests.e2e.servers import moving_frames, wait_for
from tests.security import wire
from tests.security.group import CALLERS, INNOCENT, Case, attack, complaints, pids
from tests.security.targets import (
    DECODER_TARGET,
    HTTP,
    READ_FRAMES_BY_HTTP,
    WORKFLOW_TARGET,
    Call,
    Client,
    Target,
)
from tests.security.test_hostile_forms import GOOD, MEGABYTE, parts
from tests.security.wire import FORM, Part

SERVED, REFUSED = frozenset({200}), frozenset({400})
EITHER = SERVED | REFUSED
CLIP = INNOCENT.body
FORGED = {
    "url_path": [("url_path", "")],
    "url_path of a path": [("url_path", "more/path")],
    "Url_Path": [("Url_Path", "x")],
    "explain": [("explain", "False")],
    "both marks": [("url_path", ""), ("explain", "False")],
    "both marks, in capitals": [("URL_PATH", ""), ("EXPLAIN", "False")],
    "both marks and a field's name": [("url_path", ""), ("explain", "False"), ("body", "application/octet-stream")],
    "both marks, a stream asked for": [("url_path", ""), ("explain", "False"), ("X-Eden-Stream", "1")],
    "a stream asked for": [("X-Eden-Stream", "1")],
    "ts_stream_next": [("ts_stream_next", "true")],
    "ts_stream_next: false": [("ts_stream_next", "false")],
    "ts_request_sequence_id": [
        ("ts_request_sequence_id", "a"),
        ("ts_request_sequence_start", "1"),
        ("ts_request_sequence_end", "1"),
    ],
    "frame0": [("frame0", "x")],
    "data": [("data", "x"), ("ticket", "x"), ("clip", "x")],
    "requestId": [("requestId", "0"), ("requestCommand", "PREDICT")],
    "x-request-id": [("x-request-id", "0" * 4000)],
    "content-type of a part": [("parameters", "[]"), ("headers", "[]")],
}


def test_whoever_forges_torchserves_marks_in_a_workflow_gets_the_whole_answer(client: Client):
    """More than the first MiB, which is all that a workflow keeps of an answer in pieces."""
    clip = media.encode_npy(moving_frames(4, 320, 416))
    honest = client.call(WORKFLOW_TARGET, Call(clip))
    assert len(honest.body) > MEGABYTE and honest.body.startswith(media.NPY_MAGIC)
    for what in "url_path", "Url_Path", "both marks", "both marks and a field's name", "both marks, a stream asked for":
        answer = client.call(WORKFLOW_TARGET, Call(clip, FORGED[what]))
        assert len(answer.body) == len(honest.body), f"{what}: {answer}"


@pytest.mark.parametrize("target", HTTP, ids=str)
def test_headers_that_torchserve_might_believe(client: Client, target: Target, ticket: bytes):
    cases = [
        case
        for what, headers in FORGED.items()
        for case in (
            Case(what, Call(ticket if target is DECODER_TARGET else CLIP, headers), SERVED),
            Case(f"{what}, refused", Call(b"nothing", headers), frozenset({400, 403})),
        )
    ]
    attack(client, target, cases)
    assert target is DECODER_TARGET or client.call(target, INNOCENT).code == 200


TYPES = {
    **dict.fromkeys(
        (
            None,
            "",
            " ",
            "/",
            "text",
            "text/",
            "/plain",
            "text/plain;charset=nope",
            "text/plain;charset=utf-16",
            "application/json",
            'application/json; charset="',
            "x" * 5000,
            "\x1b[2J",
            "日本",
            b"\xff\xfe",
            "multipart/mixed; boundary=x",
            "video/mp4",
            "image/png",
            "application/grpc",
            "application/x-tar",
            "message/http",
            "multipart/form-data",
            "text/html;" * 500,
        ),
        SERVED,
    ),
    **dict.fromkeys(
        (
            "multipart/form-data; boundary=x",
            "multipart/form-data; boundary=" + "x" * 3000,
            "application/x-www-form-urlencoded",
            "multipart/form-data; BOUNDARY=x",
            "multipart/form-data; boundary=\x01",
        ),
        REFUSED,
    ),
}


@pytest.mark.parametrize("target", READ_FRAMES_BY_HTTP, ids=str)
def test_content_types_of_every_kind(client: Client, target: Target):
    cases = [
        Case(f"{kind!r:.60}", Call(CLIP, [] if kind is None else [("Content-Type", kind)], ""), codes)
        for kind, codes in TYPES.items()
    ]
    cases += [
        Case("two types", Call(CLIP, [("Content-Type", "text/plain"), ("Content-Type", FORM)], ""), EITHER),
        Case("a form that says it is text", Call(GOOD, content_type="text/plain")),
        Case("a form that says it is JSON", Call(GOOD, content_type="application/json")),
    ]
    attack(client, target, cases)


METHODS = ("GET", "PUT", "DELETE", "PATCH", "HEAD", "TRACE", "CONNECT", "FOO", "get", "P" * 3000)


@pytest.mark.parametrize("target", READ_FRAMES_BY_HTTP, ids=str)
def test_methods_of_every_kind(client: Client, target: Target):
    """TorchServe takes each of them for a POST."""
    cases = [
        case
        for method in METHODS
        for case in (
            Case(f"{method:.20}", Call(CLIP, method=method), EITHER),
            Case(f"{method:.20} of nothing", Call(b"", method=method), EITHER if method == "HEAD" else REFUSED),
        )
    ]
    attack(client, target, cases)


CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(CLIP), CLIP)
CODED = "Transfer-Encoding"
LENGTHS: dict[str, tuple[wire.Headers, bytes, frozenset[int]]] = {
    "chunked": ([(CODED, "chunked")], CHUNKED, SERVED),
    "chunked, in ten thousand pieces": (
        [(CODED, "chunked")],
        b"".join(b"1\r\n%c\r\n" % byte for byte in CLIP[:10_000]) + b"0\r\n\r\n",
        REFUSED,
    ),
    "a chunk of no length": ([(CODED, "chunked")], b"zz\r\n" + CLIP + b"\r\n0\r\n\r\n", REFUSED),
    "a chunk of 2**64 - 1": ([(CODED, "chunked")], b"ffffffffffffffff\r\n" + CLIP, REFUSED),
    "a negative chunk": ([(CODED, "chunked")], b"-5\r\n" + CLIP, frozenset({0, 400})),
    "a chunk with a long extension": ([(CODED, "chunked")], b"5;" + b"x" * 9000 + b"\r\n" + CLIP, REFUSED),
    "chunked, and a length": ([(CODED, "chunked"), ("Content-Length", "3")], CHUNKED, SERVED),
    "chunked twice": ([(CODED, "chunked"), (CODED, "chunked")], CHUNKED, EITHER),
    "chunked with many trailers": ([(CODED, "chunked")], CHUNKED[:-2] + b"X-Eden-Seed: x\r\n" * 200 + b"\r\n", EITHER),
    "coded by gzip": ([(CODED, "gzip")], CLIP, REFUSED),
    "coded by nothing known": ([(CODED, "x")], CLIP, REFUSED),
    "chunked with a blank": ([(CODED, "\x0bchunked")], CHUNKED, REFUSED),
    "packed by gzip": ([("Content-Encoding", "gzip")], CLIP, SERVED),
    "a negative length": ([("Content-Length", "-1")], CLIP, REFUSED),
    "a length of letters": ([("Content-Length", "abc")], CLIP, REFUSED),
    "a length with a sign": ([("Content-Length", f"+{len(CLIP)}")], CLIP, EITHER),
    "a length of 2**62": ([("Content-Length", str(1 << 62))], CLIP, frozenset({413})),
    "a length of 2 GB": ([("Content-Length", str(2 << 30))], CLIP, frozenset({413})),
    "a length of 2**80": ([("Content-Length", str(1 << 80))], CLIP, REFUSED),
    "two lengths": ([("Content-Length", str(len(CLIP))), ("Content-Length", "3")], CLIP, REFUSED),
    "a list of lengths": ([("Content-Length", f"{len(CLIP)}, 3")], CLIP, REFUSED),
    "a length too short": ([("Content-Length", "100")], CLIP, REFUSED),
    "no length": ([("Content-Length", "0")], CLIP, REFUSED),
    "expects to be told to go on": ([("Expect", "100-continue")], CLIP, SERVED),
    "expects something odd": ([("Expect", "x")], CLIP, frozenset({417})),
    "wants HTTP/2": (
        [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABk")],
        CLIP,
        SERVED,
    ),
    "wants a WebSocket": (
        [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Key", "x")],
        CLIP,
        SERVED,
    ),
    "a folded header": ([("X-Eden-Seed", "1\r\n 2")], CLIP, REFUSED),
    "a line without a colon": ([("X-Eden-Seed\r\nfoo", "1")], CLIP, REFUSED),
    "a name of no letters": ([("X Eden(", "1")], CLIP, REFUSED),
    "a zero byte in a name": ([("X-\0", "1")], CLIP, REFUSED),
    "ten thousand headers": ([(f"X-{i}", "") for i in range(10_000)], CLIP, REFUSED),
    "a range": ([("Range", "bytes=0-1")], CLIP, SERVED),
    "a host of another's": (
        [("Host", "169.254.169.254"), ("X-Forwarded-For", "127.0.0.1"), ("Forwarded", "for=x")],
        CLIP,
        EITHER,
    ),
    "another origin": ([("Origin", "http://evil.example"), ("Access-Control-Request-Method", "POST")], CLIP, EITHER),
}


@pytest.mark.parametrize("target", READ_FRAMES_BY_HTTP, ids=str)
def test_lengths_and_codings_of_every_kind(client: Client, target: Target):
    cases = [Case(what, Call(body, headers), codes) for what, (headers, body, codes) in LENGTHS.items()]
    attack(client, target, cases)


def test_requests_that_are_none(client: Client):
    """Raw bytes: each gets a refusal, or an end of the connection, and no worker hears of it."""
    token, before = client.token, pids(client)
    begun = wire.request("POST", WORKFLOW_TARGET.at, [("Authorization", f"Bearer {token}")], CLIP)
    raw = {
        "HTTP/0.9": b"GET /\r\n\r\n",
        "HTTP/9.9": b"POST /wfpredict/eden HTTP/9.9\r\n\r\n",
        "no path": b"POST HTTP/1.1\r\n\r\n",
        "a long path": b"POST /%s HTTP/1.1\r\n\r\n" % (b"a" * 9000),
        "a path of bytes": b"POST /\xff\xfe\x00 HTTP/1.1\r\n\r\n",
        "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "a page of another server": b"GET http://169.254.169.254/latest HTTP/1.1\r\nHost: x\r\n\r\n",
        "no token": begun.replace(b"Bearer ", b"Bearer x"),
        "a token of 7,000": begun.replace(token.encode(), b"x" * 7000),
        "no bearer": begun.replace(b"Bearer ", b"Basic "),
    }
    for path in (
        "/predictions/..%2f..%2fetc%2fpasswd",
        "/predictions/../../etc/passwd",
        "/predictions/%00",
        "/wfpredict/%2e%2e",
        "/wfpredict/%zz",
        "/predictions/eden__encoder/9",
        "/predictions/eden__encoder/x",
        "/wfpredict/",
        "/predictions/",
        "//",
        "/predictions/autostart%0d%0aX:%20y",
        "/wfpredict/eden?" + "a=b&" * 1000,
    ):
        raw[path[:60]] = wire.request("POST", path, [("Authorization", f"Bearer {token}")], b"x")

    def told(item: tuple[str, bytes]) -> list[str]:
        what, data = item
        answer = client.raw(data)
        case = Case(what, Call(b""), frozenset({0, 400, 403, 404, 405}))
        return [f"{what}: {wrong}: {answer}" for wrong in complaints(case, answer, WORKFLOW_TARGET)]

    with ThreadPoolExecutor(CALLERS) as pool:
        assert not [wrong for some in pool.map(told, raw.items()) for wrong in some]
    assert client.call(WORKFLOW_TARGET, INNOCENT).code == 200
    assert pids(client) == before


URLENCODED = "application/x-www-form-urlencoded"
TORCHSERVES_OWN = {
    "a boundary of nothing": Call(GOOD, content_type="multipart/form-data; boundary="),
    "a boundary of a blank": Call(GOOD, content_type="multipart/form-data; boundary= "),
    "a boundary of a quote": Call(GOOD, content_type='multipart/form-data; boundary="'),
    "a boundary of nothing, and more": Call(GOOD, content_type="multipart/form-data; boundary=;"),
    "a part without a name": parts(Part("", b"1", disposition="form-data")),
    "a part without a disposition": parts(Part("", b"1", disposition="")),
    "a part that is attached": parts(Part("", b"1", disposition='attachment; name="seed"')),
    "a part of an empty name": parts(Part("", b"1")),
    "a part whose name is a control character": parts(Part("\x02", b"1")),
    "a part of an unknown charset": parts(Part("seed", b"1", "text/plain; charset=nope")),
    "a file of an unknown charset": parts(Part("seed", b"1", "text/plain; charset=nope", "x")),
    "a form in a part, without a boundary": parts(Part("seed", b"1", "multipart/mixed")),
    "a form in a part, of no files": parts(Part("seed", b"--q\r\n\r\n1\r\n--q--", "multipart/mixed; boundary=q")),
    "a file's name of broken escapes": parts(Part("", b"1", disposition="form-data; name=seed; filename*=utf-8''%zz")),
    "a file's name of an unknown charset": parts(Part("", b"1", disposition="form-data; name=seed; filename*=nope''x")),
    "a field of broken escapes": Call(b"a=%zz", content_type=URLENCODED),
    "fields of empty names": Call(b"&&&&", content_type=URLENCODED),
    "equals signs": Call(b"=" * 5000, content_type=URLENCODED),
}
"""What makes TorchServe answer 500 by itself: Netty's reader of forms throws, before any handler is asked."""
ITS_WORDS = ("StringIndexOutOfBoundsException", "ArrayIndexOutOfBoundsException", "ErrorDataDecoderException")


@pytest.mark.parametrize("target", HTTP, ids=str)
def test_what_torchserve_fails_over_by_itself_reaches_no_handler(client: Client, target: Target, ticket: bytes):
    good = Call(ticket if target is DECODER_TARGET else CLIP)
    model = "eden__encoder" if target is WORKFLOW_TARGET else target.at.rpartition("/")[2]
    workers = pids(client)

    def handled() -> float:
        """Batches that the handler had for all these calls and a good one after them."""
        before = counted(client.server, model)
        with ThreadPoolExecutor(CALLERS) as pool:
            for what, answer in zip(
                TORCHSERVES_OWN, pool.map(lambda call: client.call(target, call), TORCHSERVES_OWN.values()), strict=True
            ):
                assert answer.code == 500 and answer.envelope, f"{what}: {answer}"
                assert answer.envelope["type"] in ITS_WORDS and len(answer.body) < 500, f"{what}: {answer}"
        assert client.call(target, good).code == 200
        wait_for(lambda: batches(client.server, model) > before)
        return counted(client.server, model) - before

    # counters come late: one of an earlier call may be among them once, but not again
    assert any(handled() == 1 for _ in range(3))
    assert pids(client) == workers


def counted(server: Server, model: str) -> float:
    """Batches of that model, once no more are being counted."""
    seen = [batches(server, model)]

    def settled() -> bool:
        seen.append(batches(server, model))
        return len(seen) > 9 and len(set(seen[-10:])) == 1

    wait_for(settled)
    return seen[-1]


def batches(server: Server, model: str) -> float:
    """Batches that the model's handler has had, by what it tells Prometheus."""
    lines = requests.get(server.metrics_url, timeout=30).text.splitlines()
    mine = [line for line in lines if line.startswith("eden_batches_total{") and f'"{model}"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in mine)
