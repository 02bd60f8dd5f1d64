"""How much of a machine a process may use."""

from __future__ import annotations

import pytest

from media.machine import cores
from media.video_reader import MOST_THREADS, threads


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("max 100000", 64), ("200000 100000", 2), ("50000 100000", 1), ("", 64), ("9900000 100000", 64)],
)
def test_cores_are_those_that_a_container_grants(write_quota, quota, expected):
    write_quota(quota)
    assert cores() == expected


@pytest.mark.parametrize(("granted", "expected"), [(3, 3), (64, MOST_THREADS)])
def test_a_video_is_decoded_by_no_more_threads_than_there_are_cores(grant_cores, granted, expected):
    grant_cores(granted)
    assert threads(64 * 96) == expected
