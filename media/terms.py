"""What a caller may say of a call beside its pictures: how urgent it is, and how long it waits."""

from __future__ import annotations

from typing import Literal, get_args

Priority = Literal["live", "interactive", "batch"]
PRIORITIES: tuple[Priority, ...] = get_args(Priority)
"""The most urgent first."""

LATEST_MS = 24 * 3600 * 1000
"""The longest that a caller may say it waits, in milliseconds."""
