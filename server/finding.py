"""What a check of the host or of a server's folder found."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One condition of serving: whether it holds, and what to do where it does not."""

    check: str
    state: Literal["ok", "warning", "failure"]
    """failure: a server cannot serve so"""
    found: str
    remedy: str = ""
    """what to do, in plain words; empty where all is well"""

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
