"""What runs in a process whose shared memory is small, or full."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import torch

from eden import EncoderOutput
from handoff import HandoffError, HandoffSettings, OverCapacity, open_handoff
from tests.contract.confined import mount_memory, run_confined
from tests.contract.peers import Log
from tests.unit.handoff.traffic import BUDGET, TRAFFIC, check_traffic

MIB = 1 << 20
SIZE = 64 * MIB
"""What a container has by default."""


def run(function: Callable[[HandoffSettings, Log], Any], kind: str, folder: Path) -> Any:
    """What the function answers there."""
    shared = folder / "shared"
    shared.mkdir()
    settings = HandoffSettings(kind=kind, folder=folder, shared_folder=shared, max_payload_bytes=2 * SIZE, timeout_s=5)
    return run_confined(functools.partial(mount_memory, shared, SIZE), _logged, function, settings)


def _logged(function: Callable[[HandoffSettings, Log], Any], settings: HandoffSettings) -> Any:
    return function(settings, Log())


def fill(folder: Path) -> Path:
    """A file that takes all the room."""
    path = folder / "of somebody else"
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(MIB))
    return path


def beyond_what_fits(settings: HandoffSettings, log: Log) -> tuple[list[str], dict[str, int], list[str]]:
    """By which ways payloads of 24, 24, 24 and 70 MiB went, what was passed over, and the warnings; all arrive."""
    with open_handoff(settings) as producer, open_handoff(settings) as consumer:
        tickets = [producer.put(clip(i, 24)) for i in range(3)]
        tickets.append(producer.put(clip(3, 70)))
        for i, ticket in enumerate(tickets):
            assert same(consumer.take(ticket), clip(i, 70 if i == 3 else 24))
        assert producer.counters["dropped", ""] == 0
        ways = [producer.read(ticket).routes[0]["kind"] for ticket in tickets]
        ways.append(producer.read(producer.put(clip(4, 60))).routes[0]["kind"])  # what was taken makes room
        fallbacks = {kind: n for (event, kind), n in producer.counters.items() if event == "fallback"}
        return ways, fallbacks, log.messages


def beside_what_is_full(settings: HandoffSettings, log: Log) -> tuple[str, int, int, list[str]]:
    """How puts go on where others have filled all of it before: the way, payloads in flight while one is out and when
    it was taken, and the warnings."""
    fill(settings.shared_folder)
    with open_handoff(settings) as producer, open_handoff(settings) as consumer:
        ticket = producer.put(clip(1, 1))
        out = producer.in_flight()
        assert same(consumer.take(ticket), clip(1, 1))
        return producer.read(ticket).routes[0]["kind"], out, producer.in_flight(), log.messages


def once_it_is_full_no_more(settings: HandoffSettings, log: Log) -> str:
    """What a put was refused with; then there is room, and all is well."""
    others = fill(settings.shared_folder)
    with open_handoff(settings) as producer, open_handoff(settings) as consumer:
        try:
            producer.put(clip(1, 1))
            told = "nothing"
        except OverCapacity as error:
            told = str(error)
        others.unlink()
        assert same(consumer.take(producer.put(clip(2, 1))), clip(2, 1))
    return told


def in_flight_though_it_fills_up(settings: HandoffSettings, log: Log) -> int:
    """How many payloads may be in flight, of 300 that the settings allow, where no file can grow after the first."""
    with open_handoff(dataclasses.replace(settings, max_in_flight=300)) as producer:
        producer.put(clip(0, 0))
        fill(settings.shared_folder)
        for _ in range(299):
            producer.put(clip(0, 0))
        return producer.in_flight()


def refusals(settings: HandoffSettings, log: Log) -> list[str]:
    """What the third of 24 MiB was refused with, and one of 70 MiB; all is well once the others have been taken."""
    told = []
    with open_handoff(settings) as producer, open_handoff(settings) as consumer:
        tickets = [producer.put(clip(i, 24)) for i in range(2)]
        for mib in (24, 70):
            try:
                producer.put(clip(2, mib))
            except HandoffError as error:
                told.append(f"{type(error).__name__}: {error}")
        for i, ticket in enumerate(tickets):
            assert same(consumer.take(ticket), clip(i, 24))
        assert same(consumer.take(producer.put(clip(3, 63))), clip(3, 63))
    return told


def run_traffic(folder: Path) -> None:
    """Random traffic, where others have left room in shared memory for half of the budget."""
    run_confined(functools.partial(mount_memory, folder, 2 * BUDGET), _random_traffic, folder)


def _random_traffic(folder: Path) -> None:
    (folder / "of somebody else").write_bytes(bytes(3 * BUDGET // 2))

    @hypothesis.settings(max_examples=8, derandomize=True, database=None, deadline=None)
    @hypothesis.given(TRAFFIC)
    def check(actions: list[tuple[str, float]]) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as name:
            check_traffic("auto", Path(name), actions, BUDGET)

    check()


def clip(value: float, mib: int) -> EncoderOutput:
    """An output of so many MiB, and a few bytes more."""
    filled = torch.full((2, 512, 128 * mib), float(value))
    return EncoderOutput(filled, filled, torch.ones(2), torch.ones(2), torch.ones(1), (16, 32), (256, 512))


def same(one: EncoderOutput, other: EncoderOutput) -> bool:
    """Whether the tokens agree."""
    return torch.equal(one.cond_dit, other.cond_dit) and torch.equal(one.cond_dec, other.cond_dec)
