"""File descriptors: payloads keep none, and a shortage of them passes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.few_descriptors import (
    dropped_by_a_shortage,
    open_after_many_payloads,
    put_without_a_descriptor,
    run,
    told_with_few_descriptors,
    told_without_a_descriptor,
)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory."""
    with tempfile.TemporaryDirectory(prefix="eden-test-", dir="/dev/shm") as name:
        yield Path(name)


@pytest.mark.parametrize("kind", ["shared_memory", "auto"])
def test_many_payloads_need_few_descriptors(kind: str, folder: Path) -> None:
    assert run(open_after_many_payloads, kind, folder) < 60


@pytest.mark.parametrize("kind", ["shared_memory", "auto", "inline"])
def test_a_shortage_of_descriptors_is_no_room_and_passes(kind: str, folder: Path) -> None:
    assert run(dropped_by_a_shortage, kind, folder) == 0


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_a_server_that_finds_no_descriptor_left_starts_once_there_are(kind: str, folder: Path) -> None:
    assert run(put_without_a_descriptor, kind, folder) == "no room"


@pytest.mark.parametrize("kind", ["shared_memory", "http", "websocket", "grpc", "zeromq"])
def test_a_shortage_costs_no_payload_and_is_named_on_either_side(kind: str, folder: Path) -> None:
    assert run(told_without_a_descriptor, kind, folder) == ["OverCapacity"] * 3


@pytest.mark.parametrize("kind", ["nccl", "websocket"])
def test_too_few_descriptors_for_a_connection_are_no_room_and_end_neither_process_nor_thread(
    kind: str, folder: Path
) -> None:
    assert run(told_with_few_descriptors, kind, folder) == "OverCapacity"
