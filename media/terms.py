"""The terms of a call, besides its pictures: its priority and its deadline."""

from __future__ import annotations

from typing import Literal, get_args

Priority = Literal["live", "interactive", "batch"]
PRIORITIES: tuple[Priority, ...] = get_args(Priority)
"""The most urgent first."""

LATEST_MS = 24 * 3600 * 1000
"""The latest deadline that a caller may state, in milliseconds from the call."""
