"""Every option with every kind of value that it is not, by field and by header; and what clients may accept."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import media
from tests.e2e.servers import moving_frames
from tests.security.group import Case, attack, for_target
from tests.security.targets import (
    DECODER,
    HTTP,
    READ_FRAMES,
    READ_FRAMES_BY_HTTP,
    WORKFLOW_TARGET,
    Call,
    Client,
    Target,
)
from tests.security.wire import Part

NAMES = ("seed", "format", "quality", "fps", "stream", "deadline_ms", "priority")
PICTURES = tuple(
    Part(f"frame{i}", media.encode_image(frame, "png"), "image/png", f"{i}.png")
    for i, frame in enumerate(moving_frames())
)
MEGABYTE = 1 << 20
NONE_TAKES: dict[str, bytes] = {
    "empty": b"",
    "blank": b" \t ",
    "-1": b"-1",
    "-0.0": b"-0.0",
    "2**63": b"9223372036854775808",
    "2**64 + 1": b"18446744073709551617",
    "-2**63 - 1": b"-9223372036854775809",
    "25 digits": b"1" * 25,
    "a megabyte of digits": b"9" * MEGABYTE,
    "a megabyte of letters": b"x" * MEGABYTE,
    "a megabyte of zeros, then 7": b"0" * MEGABYTE + b"7",
    "a megabyte of blanks around": b" " * MEGABYTE + b"?",
    "NaN": b"NaN",
    "inf": b"inf",
    "-Infinity": b"-Infinity",
    "1e9": b"1e9",
    "1e300000000": b"1e300000000",
    "1E-300000000": b"1E-300000000",
    "hexadecimal": b"0x10",
    "binary digits": b"0b1",
    "underscores": b"1_0",
    "two points": b"1.0.0",
    "no digit before the point": b".5",
    "no digit after it": b"5.",
    "a comma": b"1,5",
    "a fraction of zeros": b"0/0",
    "a division by zero": b"24/0",
    "a negative fraction": b"24/-1",
    "a fraction of fractions": b"1/2/3",
    "two signs": b"+-7",
    "a sign alone": b"+",
    "Arabic digits": "٢٤".encode(),
    "wide digits": "２４".encode(),
    "superscript": "²".encode(),
    "a half": "½".encode(),
    "a minus of typographers": "−7".encode(),
    "turned around": "\u202e42".encode(),
    "a zero byte after": b"7\0",
    "zero bytes": b"\0" * 64,
    "control characters": b"\x1b[2J\x07\x08",
    "a line end between": b"1\r\n2",
    "not UTF-8": b"\xff\xfe7",
    "half a character": b"\xe6\x97",
    "a surrogate": b"\xed\xa0\x80",
    "a picture": PICTURES[0].value,
    "null": b"null",
    "a list": b"[7]",
    "an object": b'{"a": 7}',
    "a format string": b"%s%n{0.__class__}",
    "a template": b"${jndi:ldap://127.0.0.1/a}",
    "a path": b"../../../../etc/passwd",
    "a command": b"$(id);`id`",
    "SQL": b"' OR '1'='1",
    "markup": b"<script>alert(1)</script>",
}
IN_A_HEADER = {
    name: value for name, value in NONE_TAKES.items() if not {0, 10, 13} & set(value) and len(value) < 4096
} | {"7,900 digits": b"9" * 7900}
UNSAYABLE = {
    "a zero byte": b"7\0",
    "a megabyte": b"9" * MEGABYTE,
    "a line without a colon": b"7\r\nfoo",
    "10,000": b"9" * 10_000,
}


def header(name: str) -> str:
    return f"X-Eden-{name.replace('_', '-')}"


def field(name: str, value: bytes, content_type: str | None = None) -> Call:
    return Call((*PICTURES, Part(name, value, content_type)))


@pytest.mark.parametrize("target", READ_FRAMES, ids=str)
def test_an_option_as_a_field(client: Client, target: Target):
    cases = [
        Case(f"{name} = {what}", field(name, value), words=(name,), type="BadRequest")
        for name, (what, value) in product(NAMES, NONE_TAKES.items())
    ]
    attack(client, target, for_target(target, cases))


@pytest.mark.parametrize("target", HTTP, ids=str)
def test_an_option_as_a_header(client: Client, target: Target, ticket: bytes):
    body = ticket if target.at == DECODER else PICTURES

    def case(name: str, what: str, value: bytes, **expected: object) -> Case:
        return Case(f"X-Eden-{name}: {what}", Call(body, [(header(name), value)]), **expected)

    refused = [case(name, *item, words=(name,)) for name, item in product(NAMES, IN_A_HEADER.items())]
    unsayable = [case(name, *item) for name, item in product(NAMES, UNSAYABLE.items())]
    attack(client, target, for_target(target, refused) + for_target(target, unsayable))
    assert client.call(target, Call(body)).code == 200  # and the ticket is as good as before


JSON = ("null", "1.5", "[300]", "{}", "[]", "true", '"7"', "-1", "100000000000000000000", "1e400", "NaN", "[" * 100_000)
GOOD = {("fps", "1.5"), ("stream", "true")}


@pytest.mark.parametrize("target", READ_FRAMES_BY_HTTP, ids=str)
def test_an_option_that_calls_itself_json_is_read_as_the_text_it_is(client: Client, target: Target):
    cases = [
        Case(f"{name} = {value[:30]}", field(name, value.encode(), "application/json"), words=(f"{name} is ",))
        for name, value in product(NAMES, JSON)
        if (name, value) not in GOOD
    ]
    attack(client, target, for_target(target, cases))


def test_a_seed_that_calls_itself_json_is_the_seed(client: Client):
    plain, json = (
        client.call(WORKFLOW_TARGET, field("seed", b"100000000", kind)) for kind in (None, "application/json")
    )
    assert plain == json and plain.body.startswith(b"\x89PNG")


OUT_OF_BOUNDS = [
    ("fps", b"1e300000000", "fps is '1e300000000'"),
    ("fps", b"1e300000001", "1/1000 to 1000"),
    ("fps", b"1e-5", "1/1000 to 1000"),
    ("fps", b"1/2147483648", "1/1000 to 1000"),
    ("fps", b"1000000007/1000000009", "up to 10000000"),
    ("seed", b"9" * MEGABYTE, "0 to 9223372036854775807"),
    ("quality", b"9" * MEGABYTE, "1 to 100"),
    ("format", b"x" * MEGABYTE, "not one of"),
    ("stream", b"x" * MEGABYTE, "not one of"),
    ("layout", b"x" * MEGABYTE, "not one of rgb24, i420"),
    ("matrix", b"x" * MEGABYTE, "not one of bt709"),
    ("range", b"\0" * MEGABYTE, "not one of limited"),
    ("deadline_ms", b"1e400", "not a whole number from 1 to 86400000"),
    ("deadline_ms", b"0", "outside 1 to 86400000"),
    ("deadline_ms", b"86400001", "outside 1 to 86400000"),
    ("priority", b"x" * MEGABYTE, "not one of live, interactive, batch"),
]


@pytest.mark.parametrize("target", READ_FRAMES, ids=str)
def test_what_is_out_of_bounds_is_refused_with_the_bounds_and_not_echoed(client: Client, target: Target):
    cases = [
        Case(
            f"{name} = {value[:30]!r}",
            Call((*field(name, value).body, *([Part("format", b"mp4")] if name == "fps" else []))),
            words=(name, word),
        )
        for name, value, word in OUT_OF_BOUNDS
    ]
    answers = attack(client, target, cases)
    assert all(len(answer.body) < 1500 for answer in answers.values())


TWICE = [
    Case(f"{name} twice", Call((*PICTURES, Part(name, b"1"), Part(name, b"1"))), words=("unknown field",))
    for name in NAMES
]
EVERY = [
    Case("all options, as fields", Call((*PICTURES, *(Part(name, b"\xff") for name in NAMES)))),
    Case("all options, as headers", Call(PICTURES, [(header(name), "?") for name in NAMES])),
    Case(
        "a good field beside a bad header",
        Call((*PICTURES, Part("seed", b"1")), [("X-Eden-Seed", "x")]),
        frozenset({200}),
    ),
    Case(
        "a format beside a header that accepts none of ours",
        Call((*PICTURES, Part("format", b"webp")), [("Accept", "application/json")]),
        frozenset({200}),
    ),
    Case("a matrix of RGB", Call((*PICTURES, Part("matrix", b"bt709"))), words=("matrix is 'bt709'",)),
    Case("pictures as planes", Call((*PICTURES, Part("layout", b"i420"))), words=("the frames are pictures",)),
    Case("a bad field beside a good header", Call((*PICTURES, Part("seed", b"x")), [("X-Eden-Seed", "1")])),
    Case("the header twice", Call(PICTURES, [("X-Eden-Seed", "1"), ("X-Eden-Seed", "x")]), frozenset({200, 400})),
    Case("5,000 headers", Call(PICTURES, [("X-Eden-Seed", "1")] * 5000)),
    Case("a thousand unknown options", Call(PICTURES, [(f"X-Eden-{i:03}", "") for i in range(400)]), frozenset({200})),
]


@pytest.mark.parametrize("target", READ_FRAMES_BY_HTTP, ids=str)
def test_options_that_contradict_each_other(client: Client, target: Target):
    attack(client, target, TWICE + EVERY)


NO_WEIGHT = ("", "nan", "inf", "-1", "1e309", "2", "0.1234", "1_0", "٠.٥", '"0.5"', "0x1", " ")
ACCEPT: dict[str, frozenset[int]] = {
    **{f"image/png;q={weight}": frozenset({400}) for weight in NO_WEIGHT},
    **dict.fromkeys(
        (
            "text/html",
            "application/json",
            "image/gif",
            "image/png/x",
            "/",
            "png",
            "image",
            "image/",
            "/png",
            "*",
            "*/png",
            "image/p\u200bng",
            "null",
            "\x1b[2J",
            "\xff\xfe",
            "q=1",
            "../../etc/passwd",
            "${jndi:ldap://127.0.0.1/a}",
            "x" * 7000,
            ", ".join(["text/html"] * 600),
            "image/png;q=0",
            "*/*;q=0",
            "image/png;q=0.000, text/html",
        ),
        frozenset({406}),
    ),
    **dict.fromkeys(
        (
            "",
            " ",
            ",",
            ",,,,",
            ";",
            ";;;",
            ",;,;",
            "image/png",
            "IMAGE/PNG",
            "*/*;q=0.001",
            "image/png;;;q=1",
            "text/html, image/*;q=0.1",
            "image/png;a=b;c",
            "," * 7000,
            ";" * 7000,
            "image/png;q=1;q=2",
            ", ".join(["image/png;q=0.5"] * 400),
        ),
        frozenset({200}),
    ),
}


@pytest.mark.parametrize("target", READ_FRAMES_BY_HTTP, ids=str)
def test_what_a_caller_accepts(client: Client, target: Target):
    cases = [
        Case(f"Accept: {value[:40]!r} ({len(value)})", Call(PICTURES, [("Accept", value)]), codes)
        for value, codes in ACCEPT.items()
    ]
    attack(client, target, for_target(target, cases))


ANY = st.one_of(st.binary(max_size=40), st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")))


@settings(max_examples=2, phases=[Phase.generate])
@given(st.lists(st.tuples(st.sampled_from(NAMES), ANY), min_size=24, max_size=24))
def test_any_value(client: Client, given_options: list[tuple[str, bytes]]):
    for target in READ_FRAMES_BY_HTTP:
        cases = [
            Case(f"{i}: {name} = {value!r}", field(name, value), frozenset({200, 400}))
            for i, (name, value) in enumerate(given_options)
        ]
        attack(client, target, cases)
