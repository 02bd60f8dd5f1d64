"""The CPU cores and control groups of this process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def cores() -> int:
    """The number of CPU cores that this process may use, by its affinity and the quotas of its container or service."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for group in control_groups("cpu") if (quota := _quota(group))]
    return max(1, min([allowed, *map(round, quotas)]))


def control_groups(controller: str) -> Iterator[Path]:
    """The folders of the control groups that limit this process, its own first; some may not exist (cgroups(7)).

    controller   "cpu", "memory", ...; in version 1, each has a tree of its own
    """
    try:
        lines = _MEMBERSHIP.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = _CGROUPS / controller if controllers else _CGROUPS
        parts = [part for part in path.split("/") if part]
        depth = 0 if ".." in parts else len(parts)  # a container cannot see its host's groups
        yield from (root.joinpath(*parts[:upto]) for upto in range(depth, -1, -1))


def _quota(group: Path) -> float | None:
    """Cores that a group's processes may use together; None: no limit."""
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):  # of version 2, of version 1
        with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
            quota, period = " ".join((group / name).read_text() for name in names).split()
            return int(quota) / int(period) if int(quota) > 0 else None
    return None
