"""The result of one check of the host or of a server's folder."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """What a check found, and what to do about it."""

    check: str
    state: Literal["ok", "warning", "failure"]
    """ok, warning, or failure: a server cannot serve like this"""
    found: str
    remedy: str = ""
    """what to do, in plain words; empty for ok"""

    def __str__(self) -> str:
        return " ".join(filter(None, (self.found, self.remedy)))


def ok(check: str, found: str) -> Finding:
    return Finding(check, "ok", found)


def warning(check: str, found: str, remedy: str) -> Finding:
    return Finding(check, "warning", found, remedy)


def failure(check: str, found: str, remedy: str) -> Finding:
    return Finding(check, "failure", found, remedy)


def gigabytes(count: float) -> str:
    """Bytes for people: "0.06 GiB", "12.5 GiB"."""
    return f"{count / (1 << 30):.{2 if count < 1 << 30 else 1}f} GiB"
