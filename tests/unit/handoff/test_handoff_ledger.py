"""Slots, locks, and the sweep after a death."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from handoff import PayloadGone, PeerLost
from handoff.ledger import Ledger, ledger_path, reading, sweep

ONE, TWO = "1" * 32, "2" * 32


def die(ledger: Ledger) -> None:
    os.close(ledger._file)  # what the kernel does at a kill


def test_a_payload_is_not_retired_while_it_is_read(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    slot = ledger.enter(ONE)
    with reading(tmp_path, ledger.producer, slot, ONE) as held, reading(tmp_path, ledger.producer, slot, ONE):
        assert not ledger.retire(slot)
        assert ledger.taken() == set()
        held.mark_taken()
        assert ledger.taken() == {slot}
    assert ledger.retire(slot)
    with pytest.raises(PayloadGone), reading(tmp_path, ledger.producer, slot, ONE):
        pass
    ledger.close()


def test_a_late_mark_on_a_slot_since_reused_means_nothing(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    slot = ledger.enter(ONE)
    assert ledger.retire(slot)
    assert ledger.enter(TWO) == slot
    late = os.open(ledger.path, os.O_RDWR)
    os.pwrite(late, bytes.fromhex(ONE), 64 + 32 * slot + 16)
    os.close(late)
    assert ledger.taken() == set()
    ledger.close()


def test_a_dead_producer_is_lost_and_swept_a_living_one_is_not(tmp_path: Path) -> None:
    dead, living = Ledger(tmp_path), Ledger(tmp_path)
    slot = dead.enter(ONE)
    segment = tmp_path / f"eden-handoff-{dead.producer}.0.segment"
    orphan = tmp_path / f"eden-handoff-{TWO}.0.segment"
    kept = tmp_path / f"eden-handoff-{living.producer}.0.segment"
    for path in (segment, orphan, kept):
        path.touch()
    assert sweep(tmp_path) == 1  # the orphan alone
    die(dead)
    with pytest.raises(PeerLost, match="died"), reading(tmp_path, dead.producer, slot, ONE):
        pass
    assert sweep(tmp_path) == 2
    assert {path.name for path in tmp_path.iterdir()} == {ledger_path(tmp_path, living.producer).name, kept.name}
    with pytest.raises(PeerLost, match="ended"), reading(tmp_path, dead.producer, slot, ONE):
        pass
    living.close()


def test_a_producer_is_no_path(tmp_path: Path) -> None:
    with pytest.raises(PeerLost), reading(tmp_path, "../../etc/passwd", 0, ONE):
        pass


def test_a_producer_that_is_just_starting_is_not_swept(tmp_path: Path) -> None:
    (tmp_path / f"eden-handoff-{ONE}.new").touch()
    assert sweep(tmp_path) == 0
