"""Forms: names of every kind, thousands of them, and parts that are not what they say."""

from __future__ import annotations

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.security.group import REFUSED, Case, attack, for_target
from tests.security.targets import (
    DECODER_TARGET,
    ENCODER_TARGET,
    READ_FRAMES,
    READ_FRAMES_BY_HTTP,
    Call,
    Client,
    Target,
)
from tests.security.test_hostile_options import MEGABYTE, PICTURES
from tests.security.wire import BOUNDARY, FORM, Part, form

SERVED = frozenset({200})
EITHER = SERVED | REFUSED
UNKNOWN = (
    "x",
    "x" * 5000,
    "frame" + "1" * 5000,
    "frame" + "1" * 10,
    "frame-1",
    "frame+1",
    "frame1.0",
    "frame1e5",
    "frame 1",
    "frame٣",
    "frame１",
    "frame²",
    "frames-1",
    "FRAME0",
    "Seed",
    "seed[]",
    "formаt",  # a Cyrillic а
    "__class__",
    "__init__.__globals__",
    "constructor",
    "../frame0",
    "/etc/passwd",
    "a;b",
    "a=b",
    "a&b",
    "it's",
    "<b>",
    "{0.__class__}",
    "%s%n",
    "%00",
    "日本語",
    "é" * 2500,
    "👩‍👩‍👧‍👦",
    "\u202eeman",
    "\ufeff",
    "$(id)",
    "body0",
    "headers",
    "url_path",
    "content-type",
    "requestId",
)
BROKEN_NAMES = {  # as they are written between the quotes: a gRPC client cannot send them
    "a quote": 'a"b',
    "a backslash and a quote": 'a\\"b',
    "a line end": "a\r\nb",
    "a line end alone": "a\nb",
    "a header after it": 'a"\r\nX-Eden-Seed: b',
    "an empty line after it": 'a"\r\n\r\nb',
    "a zero byte": "a\0b",
    "control characters": "a\x1b[2J\x07",
    "not UTF-8": "s\udcff\udcfed",
    "semicolons": "a;;;b",
    "a second name": 'a"; name="b',
    "a megabyte": "x" * MEGABYTE,
}


@pytest.mark.parametrize("target", READ_FRAMES, ids=str)
def test_a_name_that_is_none_of_ours(client: Client, target: Target):
    cases = [
        Case(repr(name[:30]), Call((*PICTURES, Part(name, b"1"))), words=("unknown field",), type="BadRequest")
        for name in UNKNOWN
    ]
    attack(client, target, for_target(target, cases))


@pytest.mark.parametrize("target", READ_FRAMES_BY_HTTP, ids=str)
def test_a_name_that_breaks_its_header(client: Client, target: Target):
    attack(client, target, [Case(what, Call((*PICTURES, Part(name, b"1")))) for what, name in BROKEN_NAMES.items()])


@pytest.mark.parametrize(
    ("name", "word"),
    [("x" * 5000, "unknown field"), ("frame" + "1" * 5000, "unknown field")],
    ids=["letters", "digits"],
)
def test_a_long_name_is_not_echoed(client: Client, name: str, word: str):
    (answer,) = attack(
        client, ENCODER_TARGET, [Case("long", Call((*PICTURES, Part(name, b"1"))), words=(name[:20], word))]
    ).values()
    assert len(answer.body) < 1500


MANY = [
    Case("5,000 unknown fields", Call((*PICTURES, *(Part(f"x{i}", b"1") for i in range(5000))))),
    Case("5,000 times one name", Call((*PICTURES, *(Part("seed", b"1") for _ in range(5000))))),
    Case("5,000 frames", Call(tuple(Part(f"frame{i}", b"x") for i in range(5000))), frozenset({400, 413})),
    Case("513 times `frames`", Call(tuple(Part("frames", PICTURES[0].value) for _ in range(513))), frozenset({413})),
    Case("5,000 urlencoded fields", Call(b"a=1&" * 5000, content_type="application/x-www-form-urlencoded")),
    Case("5,000 headers in a part", Call((*PICTURES, Part("seed", b"1", "text/plain" + "\r\nX: y" * 5000))), EITHER),
    Case("frames and a body", Call((*PICTURES, Part("body", b"x")))),
    Case("two bodies", Call((Part("body", b"x"), Part("data", b"x")))),
    Case("a body, a clip, a video", Call((Part("body", b"x"), Part("clip", b"x"), Part("video", b"x")))),
    Case("a ticket among the frames", Call((*PICTURES, Part("ticket", b"x")))),
    Case(
        "frames far apart", Call((Part("frame7", PICTURES[0].value), Part("frame999999999", PICTURES[1].value))), SERVED
    ),
    Case(
        "frames with the same number",
        Call((Part("frame1", PICTURES[0].value), Part("frame01", PICTURES[1].value))),
        SERVED,
    ),
    Case(
        "`frame`, `frames` and `frame0`",
        Call(tuple(Part(n, PICTURES[0].value) for n in ("frame", "frames", "frame0"))),
        SERVED,
    ),
]


@pytest.mark.parametrize("target", READ_FRAMES, ids=str)
def test_many_fields(client: Client, target: Target):
    attack(client, target, for_target(target, MANY))


JSON = (
    b"null",
    b"true",
    b"7",
    b"-1.5",
    b'"x"',
    b"[300]",
    b"[]",
    b"{}",
    b'{"a": [1]}',
    b"1e400",
    b"NaN",
    b"{",
    b"",
    b"\xff",
)
DEEP = {
    "a million brackets": b"[" * 1_000_000,
    "a million pairs": b"[[],[]," * 1_000_000,
    "a hundred million": b"100000000",
}


@pytest.mark.parametrize("target", READ_FRAMES_BY_HTTP, ids=str)
def test_a_picture_that_calls_itself_json_is_a_bad_picture(client: Client, target: Target):
    values = {repr(value): value for value in JSON} | DEEP
    second = PICTURES[:1]
    cases = [
        case
        for what, value in values.items()
        for case in (
            Case(
                f"frame1 {what}", Call((*second, Part("frame1", value, "application/json", "x"))), words=("frame1: ",)
            ),
            Case(
                f"frame1, no file {what}",
                Call((*second, Part("frame1", value, "application/json"))),
                words=("frame1: ",),
            ),
            Case(f"clip {what}", Call((Part("clip", value, "application/json", "x"),))),
            Case(f"body {what}", Call(value, content_type="application/json")),
        )
    ]
    attack(client, target, for_target(target, cases))


@pytest.mark.parametrize("target", [DECODER_TARGET], ids=str)
def test_a_ticket_that_calls_itself_json_is_a_bad_ticket(client: Client, target: Target):
    values = {repr(value): value for value in JSON if value} | DEEP
    bad = frozenset({403})
    cases = [
        case
        for what, value in values.items()
        for case in (
            Case(f"body {what}", Call(value, content_type="application/json"), bad, type="TicketRejected"),
            Case(f"ticket {what}", Call((Part("ticket", value, "application/json", "x"),)), bad, type="TicketRejected"),
            Case(f"body, a part {what}", Call((Part("body", value, "application/json"),)), bad, type="TicketRejected"),
        )
    ]
    cases += [
        Case("nothing", Call(b"")),
        Case("an empty form", Call(())),
        Case("other fields", Call((Part("x", b"EDEN-TICKET"), Part("seed", b"1")))),
        Case("a ticket and a body", Call((Part("ticket", b"x"), Part("body", b"y"))), bad),
        Case("5,000 tickets", Call(tuple(Part("ticket", b"x") for _ in range(5000)))),
    ]
    attack(client, target, for_target(target, cases))


GOOD = form(PICTURES)


def parts(*more: Part) -> Call:
    return Call((*PICTURES, *more))


MALFORMED = [
    Case("no last boundary", Call(GOOD[: -len(BOUNDARY) - 6], content_type=FORM)),
    Case("cut in the second picture", Call(GOOD[: -len(BOUNDARY) - 300], content_type=FORM)),
    Case("cut in a header", Call(GOOD[: GOOD.index(b"frame1")], content_type=FORM)),
    Case("something before it", Call(b"preamble\r\n" + GOOD, content_type=FORM)),
    Case("another boundary", Call(GOOD.replace(BOUNDARY.encode(), b"b"), content_type=FORM)),
    Case("nothing at all", Call(b"", content_type=FORM)),
    Case("a last boundary only", Call(f"--{BOUNDARY}--\r\n".encode(), content_type=FORM)),
    Case("a thousand boundaries", Call(f"--{BOUNDARY}\r\n".encode() * 1000, content_type=FORM), EITHER),
    Case("line ends of Unix", Call(GOOD.replace(b"\r\n", b"\n"), content_type=FORM)),
    Case("a quote that stays open", Call(GOOD, content_type=f'multipart/form-data; boundary="{BOUNDARY}')),
    Case("two boundaries", Call(GOOD, content_type=f"{FORM}; boundary=x"), EITHER),
    Case("a boundary with `=`", Call(GOOD, content_type="multipart/form-data; boundary==x")),
    Case("a boundary of 3,000", Call(GOOD, content_type="multipart/form-data; boundary=" + "x" * 3000)),
    Case("an unlikely boundary", Call(GOOD, content_type="multipart/form-data; boundary=" + "-" * 70)),
    Case("no boundary", Call(GOOD, content_type="multipart/form-data")),
    Case("mixed, not form-data", Call(GOOD, content_type=f"multipart/mixed; boundary={BOUNDARY}")),
    Case("a part of UTF-16", parts(Part("seed", b"1", "text/plain; charset=utf-16")), EITHER),
    Case("a part of no type", parts(Part("seed", b"1", "")), EITHER),
    Case("a part of an odd type", parts(Part("seed", b"1", '\x01"; x=')), EITHER),
    Case("a part that is coded", parts(Part('seed"\r\nContent-Transfer-Encoding: base64\r\nX: "', b"MQ=="))),
    Case("an unknown coding", parts(Part('seed"\r\nContent-Transfer-Encoding: x\r\nX: "', b"MQ=="))),
    *(
        Case(f"a part of length {n}", parts(Part(f'seed"\r\nContent-Length: {n}\r\nX: "', b"1")), EITHER)
        for n in ("0", "-1", "x", "99999999999", "9" * 40)
    ),
    *(
        Case(f"a file called {name[:20]!r}", parts(Part("seed", b"1", filename=name)), SERVED)
        for name in ("", ".", "../../../../etc/passwd", "C:\\a", "a\0b", "x" * 5000, "日本", "con", "|id")
    ),
    *(
        Case(f"urlencoded {body[:20]!r}", Call(body, content_type="application/x-www-form-urlencoded"))
        for body in (
            b"",
            b"seed=1",
            b"seed=%00",
            b"frame0=%ff&frame1=x",
            b"%",
            b"frame0",
            b"a+b=c",
            b"\xff\xfe=1",
            b"a=1;b=2",
        )
    ),
]


@pytest.mark.parametrize("target", READ_FRAMES_BY_HTTP, ids=str)
def test_a_form_that_is_malformed(client: Client, target: Target):
    attack(client, target, MALFORMED)


TRIMMED = "".join(map(chr, range(33)))
"""TorchServe takes these off both ends of a name, and fails over what is left of nothing."""
TEXT = st.text(st.characters(codec="utf-8", exclude_characters='"\r\n\\'), min_size=1, max_size=30)


@settings(max_examples=2, phases=[Phase.generate])
@given(
    st.lists(st.tuples(TEXT.filter(lambda name: name.strip(TRIMMED)), st.binary(max_size=50)), min_size=24, max_size=24)
)
def test_any_name(client: Client, fields: list[tuple[str, bytes]]):
    for target in READ_FRAMES_BY_HTTP:
        cases = [
            Case(f"{i}: {name!r} = {value!r}", parts(Part(name, value)), frozenset({200, 400}))
            for i, (name, value) in enumerate(fields)
        ]
        attack(client, target, cases[:: target.step])


def test_a_megabyte_of_anything_keeps_nobody_waiting(client: Client):
    noise = bytes(range(256)) * 4096
    cases = [Case(f"{i}", Call(noise[i:] + noise[:i])) for i in range(24)]
    for target in ENCODER_TARGET, DECODER_TARGET:
        codes = frozenset({400 if target is ENCODER_TARGET else 403})
        attack(client, target, [Case(case.name, case.call, codes) for case in cases])
