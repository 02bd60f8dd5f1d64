"""File descriptors: payloads keep none, and a shortage of them passes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

LIMIT = 96
"""Descriptors of the process; torch, the libraries and both ends of a hand-off have about 30 open."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory."""
    with tempfile.TemporaryDirectory(prefix="eden-test-", dir="/dev/shm") as name:
        yield Path(name)


def run(code: str, *arguments: object) -> str:
    """What a process prints that has few descriptors to itself."""
    start = f"""
import os, resource, sys
from pathlib import Path
import torch
from eden import EncoderOutput
from handoff import HandoffError, HandoffSettings, OverCapacity, open_handoff
from tests.descriptors import exhaust
def clip(value=0.0, tokens=4):
    filled = torch.full((2, tokens, 8), float(value))
    return EncoderOutput(filled, filled, torch.ones(2), torch.ones(2), torch.ones(1), (2, 2), (32, 32))
torch.set_num_threads(1)
kind, folder = sys.argv[1], Path(sys.argv[2])
settings = dict(kind=kind, folder=folder, shared_folder=folder, keep_taken=150, max_in_flight=150, timeout_s=5)
resource.setrlimit(resource.RLIMIT_NOFILE, ({LIMIT}, {LIMIT}))
"""
    done = subprocess.run(
        [sys.executable, "-c", start + textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("kind", ["shared_memory", "auto"])
def test_many_payloads_need_few_descriptors(kind: str, folder: Path) -> None:
    code = """
    with open_handoff(HandoffSettings(**settings)) as producer, open_handoff(HandoffSettings(**settings)) as consumer:
        tickets = [producer.put(clip(i)) for i in range(150)]
        for i, ticket in enumerate(tickets):
            assert consumer.take(ticket).cond_dit.unique().tolist() == [i]
        for i in range(150):  # of other sizes, so that segments come and go
            assert consumer.take(producer.put(clip(i, 9_000 * (1 + i % 3)))).cond_dit.unique().tolist() == [i]
        print(len(os.listdir("/proc/self/fd")))
    """
    assert int(run(code, kind, folder)) < 60


@pytest.mark.parametrize("kind", ["shared_memory", "auto", "inline"])
def test_a_shortage_of_descriptors_is_no_room_and_passes(kind: str, folder: Path) -> None:
    code = """
    def attempt(action, *arguments):
        try:
            return action(*arguments)
        except OverCapacity as error:
            assert "ulimit -n" in str(error) or "cannot be mapped" in str(error), error
            return "no room"
    with open_handoff(HandoffSettings(**settings)) as producer, open_handoff(HandoffSettings(**settings)) as consumer:
        first = producer.put(clip(1))
        held = exhaust()
        outcome = attempt(consumer.take, first)
        assert outcome == "no room", outcome
        outcomes = {attempt(producer.put, clip(2)) == "no room" for _ in range(3)}
        assert outcomes == {kind in ("shared_memory", "auto")}, outcomes
        outcomes = set()
        for count in range(1, 20):  # whichever call it is that finds none left
            os.close(held.pop())
            outcomes |= {attempt(action, *given) == "no room" for action, *given in ((producer.put, clip(3)),
                (consumer.take, first))}
        assert False in outcomes
        for descriptor in held:
            os.close(descriptor)
        for _ in range(3):
            assert consumer.take(first).cond_dit.unique().tolist() == [1]
            assert consumer.take(producer.put(clip(4))).cond_dit.unique().tolist() == [4]
        print("served", producer.counters["dropped", ""])
    """
    assert run(code, kind, folder) == "served 0\n"


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_a_server_that_finds_no_descriptor_left_starts_once_there_are(kind: str, folder: Path) -> None:
    code = """
    with open_handoff(HandoffSettings(**settings)) as known:  # its libraries are loaded now
        assert known.take(known.put(clip(0))).cond_dit.unique().tolist() == [0]
    with open_handoff(HandoffSettings(**settings)) as producer, open_handoff(HandoffSettings(**settings)) as consumer:
        producer._producer()  # its ledger
        held = exhaust()
        try:
            producer.put(clip(1))
            print("put, with no descriptor left")
        except OverCapacity:
            print("no room")
        for descriptor in held:
            os.close(descriptor)
        assert consumer.take(producer.put(clip(2))).cond_dit.unique().tolist() == [2]
    """
    assert run(code, kind, folder) == "no room\n"
