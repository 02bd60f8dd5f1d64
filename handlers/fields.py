"""A request's fields as its caller sent them, which TorchServe 0.12.0 would not pass on.

`ts.service.Service` makes a dict of a request's parameters, so of two fields named `frames` only the last arrives.
Given numbers before that, `frames`, `frames` become `frames0`, `frames1`, and all arrive, in their order.

And it parses what says that it is JSON: a few megabytes of brackets become gigabytes of Python's lists before a handler
is asked, and a seed of 7 is an int in place of a text.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

from ts.service import Service

from handlers.faults import BadRequest

_read = Service.retrieve_data_for_inference


def keep_fields() -> None:
    """Have this worker take every field as bytes, and number the repeated ones of every request."""
    os.environ["TS_DECODE_INPUT_REQUEST"] = "false"  # TorchServe looks at it for each field
    Service.retrieve_data_for_inference = staticmethod(_read_numbered)


def _read_numbered(batch: list[dict[str, Any]]) -> Any:
    for request in batch or ():
        number_repeated(request["parameters"])
    return _read(batch)


def number_repeated(parameters: list[dict[str, Any]]) -> None:
    """Number, in place, the names that stand more than once; taken names are passed over."""
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


def as_bytes(name: str, value: object) -> bytes:
    """A field's value. Raises BadRequest, naming the field, where it is text or was parsed: numbers, lists, null."""
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    raise BadRequest(f"{name} came as {'text' if isinstance(value, str) else 'JSON'}: send the bytes of a file")


def as_text(name: str, value: object) -> str:
    """A field's value as text. Raises BadRequest, naming the field."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise BadRequest(f"{name} is not text") from None
    raise BadRequest(f"{name} came as JSON: send it as plain text")
