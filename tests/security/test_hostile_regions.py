"""Shared memory regions: descriptions that lie, files that are none of the caller's, and files that change."""

from __future__ import annotations

import itertools
import os
import threading
from pathlib import Path

import pytest

from media.region_format import CONTENT_TYPE, region_name
from tests.region_files import DESCRIBED, FILES, FRAMES, RegionFile
from tests.security.group import Case, attack, for_target
from tests.security.targets import ENCODER_TARGET, FUSED_TARGET, READ_FRAMES, WORKFLOW_TARGET, Call, Client, Target
from tests.security.wire import Part

UNAVAILABLE = frozenset({409})


@pytest.fixture
def regions(shared: Path) -> list[RegionFile]:
    """Made in the server's folder, one for each hostile change of a file."""
    return [RegionFile.write(shared, FRAMES) for _ in (*FILES, "left as it is")]


def described(body: bytes, target: Target) -> Call:
    """By content type, or as a field where the way in has no headers."""
    return Call(body, content_type=CONTENT_TYPE) if target.protocol == "HTTP" else Call((Part("region", body),))


@pytest.mark.parametrize("target", READ_FRAMES, ids=str)
def test_descriptions(client: Client, target: Target, regions: list[RegionFile]):
    region = regions[-1]
    before = region.path.read_bytes()
    bodies = {what: (said if isinstance(said, bytes) else region.body(**said)) for what, (said, _) in DESCRIBED.items()}
    cases = [Case(what, described(body, target), words=(DESCRIBED[what][1],)) for what, body in bodies.items()]
    attack(client, target, [case for case in for_target(target, cases) if target.takes(case.call)])
    assert region.path.read_bytes() == before


@pytest.mark.parametrize("target", [ENCODER_TARGET, FUSED_TARGET, WORKFLOW_TARGET], ids=str)
def test_files(client: Client, target: Target, regions: list[RegionFile]):
    cases = []
    for (make, word), region in zip(FILES.items(), regions, strict=False):
        make(region.path, region.path.with_name(f"beside-{region.path.stem}"))
        cases.append(Case(make.__name__, described(region.body(), target), words=(word,), type="BadRequest"))
    absent = region_name(os.geteuid(), "0" * 32)
    assert not (regions[-1].path.parent / absent).exists()
    gone = regions[-1].body(answer__file=absent)
    cases.append(Case("gone", described(gone, target), UNAVAILABLE, type="RegionUnavailable"))
    attack(client, target, cases)


@pytest.mark.parametrize("target", [ENCODER_TARGET, FUSED_TARGET], ids=str)
def test_a_file_that_is_cut_short_and_made_longer_all_the_while(client: Client, target: Target, regions):
    """Nothing worse than a refusal: a worker that had it mapped would die."""
    region, over = regions[-1], threading.Event()
    size = region.path.stat().st_size

    def change() -> None:
        for length in itertools.cycle((region.answer - 1, size, 5000, size)):
            if over.is_set():
                return
            os.truncate(region.path, length)

    changing = threading.Thread(target=change)
    changing.start()
    try:
        cases = [Case(str(i), described(region.body(), target), frozenset({200, 400})) for i in range(40)]
        attack(client, target, cases)
    finally:
        over.set()
        changing.join()
    assert region.path.stat().st_size <= size
