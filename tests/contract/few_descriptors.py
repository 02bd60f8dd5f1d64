"""What runs in a process that has few file descriptors to itself, forked from one that has loaded the libraries."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from eden import EncoderOutput
from handoff import Handoff, HandoffError, HandoffSettings, OverCapacity, open_handoff
from tests.contract.confined import run_confined
from tests.contract.peers import wait_until
from tests.descriptors import exhaust, not_accepted

LIMIT = 96
"""Descriptors of the process; torch, the libraries and both ends of a hand-off have about 30 open."""
PAYLOADS = 100
"""More than descriptors."""


def run(function: Callable[[HandoffSettings], Any], kind: str, folder: Path) -> Any:
    """What the function answers in such a process."""
    settings = HandoffSettings(
        kind=kind, folder=folder, shared_folder=folder, keep_taken=PAYLOADS, max_in_flight=PAYLOADS, timeout_s=5
    )
    return run_confined(_limit, function, settings)


def _limit() -> None:
    _allow(LIMIT)


def _allow(descriptors: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def clip(value: float = 0.0, tokens: int = 4) -> EncoderOutput:
    filled = torch.full((2, tokens, 8), float(value))
    return EncoderOutput(filled, filled, torch.ones(2), torch.ones(2), torch.ones(1), (2, 2), (32, 32))


def values(consumer: Handoff, ticket: bytes) -> list[float]:
    """The values that are in a payload."""
    return consumer.take(ticket).cond_dit.unique().tolist()


def take_once(consumer: Handoff, ticket: bytes, folder: Path) -> None:
    """Take a payload, and wait until nobody has its files open: a server closes them when it gets to it."""
    before = open_files(folder)
    assert values(consumer, ticket) == [1]
    assert wait_until(lambda: open_files(folder) == before, 60), open_files(folder)


def open_files(folder: Path) -> list[str]:
    """The files of a folder that the process has open, as often as it has."""
    names = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile, as the folder's own is
            names.append(str(descriptor.readlink()))
    return sorted(name for name in names if name.startswith(f"{folder}/"))


def open_after_many_payloads(settings: HandoffSettings) -> int:
    """Descriptors that are open at the end."""
    with open_handoff(settings) as producer, open_handoff(settings) as consumer:
        tickets = [producer.put(clip(i)) for i in range(PAYLOADS)]
        for i, ticket in enumerate(tickets):
            assert values(consumer, ticket) == [i]
        for i in range(PAYLOADS):  # of other sizes, so that segments come and go
            assert values(consumer, producer.put(clip(i, 9_000 * (1 + i % 3)))) == [i]
        return sum(1 for _ in Path("/proc/self/fd").iterdir())


def dropped_by_a_shortage(settings: HandoffSettings) -> int:
    """Puts and takes while there is no descriptor, and after; how many payloads were dropped."""

    def attempt(action: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return action(*arguments)
        except OverCapacity as error:
            assert "ulimit -n" in str(error) or "cannot be mapped" in str(error), error
            return "no room"

    with open_handoff(settings) as producer, open_handoff(settings) as consumer:
        first = producer.put(clip(1))
        held = exhaust()
        assert attempt(consumer.take, first) == "no room"
        outcomes = {attempt(producer.put, clip(2)) == "no room" for _ in range(3)}
        assert outcomes == {settings.kind in ("shared_memory", "auto")}
        outcomes = set()
        for _ in range(1, 20):  # whichever call it is that finds none left
            os.close(held.pop())
            calls = (producer.put, clip(3)), (consumer.take, first)
            outcomes |= {attempt(action, given) == "no room" for action, given in calls}
        assert False in outcomes
        for descriptor in held:
            os.close(descriptor)
        for _ in range(3):
            assert values(consumer, first) == [1]
            assert values(consumer, producer.put(clip(4))) == [4]
        return producer.counters["dropped", ""]


def told_without_a_descriptor(settings: HandoffSettings) -> list[str]:
    """What is said where there is none: to who opens a hand-off, who asks by a connection that is kept, and who dials.

    The payload outlives it, and is taken by both.
    """
    told = []
    with (
        open_handoff(settings) as producer,
        open_handoff(settings) as first,
        open_handoff(settings) as second,
    ):
        ticket = producer.put(clip(1))
        take_once(first, ticket, settings.folder)
        held = exhaust()
        for action in (lambda: open_handoff(settings), lambda: first.take(ticket), lambda: second.take(ticket)):
            try:
                action()
                told.append("nothing")
            except HandoffError as error:
                told.append(type(error).__name__)
        for descriptor in held:
            os.close(descriptor)
        assert values(first, ticket) == values(second, ticket) == [1]
    return told


def told_with_few_descriptors(settings: HandoffSettings) -> str:
    """What is said to who dials where some are left, yet too few for a connection; then it is served."""
    with open_handoff(settings) as producer, open_handoff(settings) as first, open_handoff(settings) as second:
        ticket = producer.put(clip(1))
        take_once(first, ticket, settings.folder)
        held = exhaust()
        for _ in range(6):
            os.close(held.pop())
        try:
            told = repr(values(second, ticket))
        except HandoffError as error:
            told = type(error).__name__
        for descriptor in held:
            os.close(descriptor)
        _allow(LIMIT + 64)
        assert values(second, ticket) == [1]
        return told


def put_without_a_descriptor(settings: HandoffSettings) -> str:
    """What a first put says while there is none; then there are, and it serves."""
    with open_handoff(settings) as known:  # its libraries are loaded now
        assert values(known, known.put(clip(0))) == [0]
    with open_handoff(settings) as producer, open_handoff(settings) as consumer:
        producer._producer._started()  # its leases
        held = exhaust()
        try:
            producer.put(clip(1))
            told = "put, with no descriptor left"
        except OverCapacity:
            told = "no room"
        for descriptor in held:
            os.close(descriptor)
        assert values(consumer, producer.put(clip(2))) == [2]
        return told


def served_after_strangers_found_none(settings: HandoffSettings) -> None:
    """Strangers connect while there is no descriptor; then they are gone, and whoever dials first is served."""
    settings = replace(settings, timeout_s=20)
    _allow(256)
    with (
        open_handoff(settings) as producer,
        open_handoff(settings) as consumer,
        open_handoff(settings) as newcomer,
    ):
        assert values(consumer, producer.put(clip(1))) == [1]
        (route,) = producer.read(producer.put(clip(2))).routes
        strangers = [socket.socket() for _ in range(30)]
        held = exhaust()
        for stranger in strangers:  # the kernel takes them up; the producer a few, by descriptors let go of just now
            stranger.connect((route["host"], route["port"]))
        assert not_accepted(route["port"]) > 0
        for each in held:
            os.close(each)
        assert wait_until(lambda: not_accepted(route["port"]) == 0, 60)
        for stranger in strangers:
            stranger.close()
        assert values(newcomer, producer.put(clip(3))) == [3]
