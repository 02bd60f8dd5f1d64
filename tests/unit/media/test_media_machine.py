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


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/system.slice/eden.service", {"system.slice/eden.service/cpu.max": "300000 100000"}, 3),
        ("0::/system.slice/eden.service", {"system.slice/cpu.max": "200000 100000"}, 2),
        ("0::/../other.slice", {"cpu.max": "400000 100000"}, 4),
        ("4:memory:/x\n3:cpu,cpuacct:/docker/1\n0::/", {"cpu/cpu.cfs_quota_us": "150000"}, 2),
        ("3:cpu,cpuacct:/", {"cpu/cpu.cfs_quota_us": "-1"}, 64),
        ("4:memory:/", {"cpu/cpu.cfs_quota_us": "150000"}, 64),
    ],
)
def test_a_services_quota_counts_and_that_of_all_above_it(write_quota, tmp_path, membership, files, expected):
    write_quota("max 100000")
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000")
    (tmp_path / "membership").write_text(f"{membership}\n")
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cores() == expected


@pytest.mark.parametrize(("granted", "expected"), [(3, 3), (64, MOST_THREADS)])
def test_a_video_is_decoded_by_no_more_threads_than_there_are_cores(grant_cores, granted, expected):
    grant_cores(granted)
    assert threads(64 * 96) == expected
