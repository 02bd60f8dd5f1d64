"""Repeated form fields, which TorchServe 0.12.0 would lose.

`ts.service.Service` makes a dict of a request's parameters, so of two fields named `frames` only the last arrives.
Given numbers before that, `frames`, `frames` become `frames0`, `frames1`, and all arrive, in their order.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from ts.service import Service

_read = Service.retrieve_data_for_inference


def keep_repeated_fields() -> None:
    """Have this worker number the repeated fields of every request."""
    Service.retrieve_data_for_inference = staticmethod(_read_numbered)


def _read_numbered(batch: list[dict[str, Any]]) -> Any:
    for request in batch or ():
        number_repeated(request["parameters"])
    return _read(batch)


def number_repeated(parameters: list[dict[str, Any]]) -> None:
    """Number, in place, the names that stand more than once; taken names are passed over."""
    count = Counter(parameter["name"] for parameter in parameters)
    taken = set(count)
    for name in [name for name, times in count.items() if times > 1]:
        number = 0
        for parameter in parameters:
            if parameter["name"] == name:
                while f"{name}{number}" in taken:
                    number += 1
                parameter["name"] = f"{name}{number}"
                taken.add(parameter["name"])
