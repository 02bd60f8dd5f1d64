"""Who counts as waiting for the consumer, where callers hold tickets that they may never bring."""

from __future__ import annotations

import time

import pytest
import torch

from eden import Encoder
from eden.random_weights import write_random
from handoff import HandoffSettings, open_handoff


@pytest.fixture
def output(tmp_path):
    write_random(tmp_path / "weights")
    return Encoder.load(tmp_path / "weights").encode(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))


@pytest.mark.parametrize(("abandoned_after_s", "waiting"), [(3600.0, 4), (0.01, 1)])
def test_what_callers_hold_waits_until_nothing_has_been_taken_for_a_while(output, tmp_path, abandoned_after_s, waiting):
    settings = HandoffSettings(
        kind="in_process", folder=tmp_path, shared_folder=tmp_path, abandoned_after_s=abandoned_after_s
    )
    with open_handoff(settings) as handoff:
        handoff.take(handoff.put(output))
        assert handoff.queue() == []  # which notices that one was taken
        for by_caller in (True, True, True, False):
            handoff.put(output, by_caller=by_caller)
        time.sleep(0.05)
        assert len(handoff.queue()) == waiting
        assert handoff.in_flight() == 4


def test_nobody_counts_as_waiting_until_one_was_taken_and_then_with_when_it_was_put(output, tmp_path):
    settings = HandoffSettings(kind="in_process", folder=tmp_path, shared_folder=tmp_path)
    with open_handoff(settings) as handoff:
        ticket = handoff.put(output)
        handoff.put(output)
        assert handoff.queue() == [] and handoff.in_flight() == 2
        handoff.take(ticket)
        before = time.time()
        handoff.put(output)
        after = time.time()
        second, third = handoff.queue()
        assert second <= before <= third <= after
