"""The transport that docs/handoff.md writes keeps the contract: what it says is all that a new one needs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from examples import tcp_transport
from tests.contract.stage import start  # noqa: F401
from tests.contract.suite import (  # noqa: F401
    Case,
    test_a_clip_streams_pair_by_pair,
    test_a_payload_over_its_cap_is_neither_put_nor_taken,
    test_a_producer_killed_at_any_moment_of_the_take_does_not_hang_it,
    test_a_producer_killed_before_the_take_is_peer_lost,
    test_a_retry_gets_the_same_payload_until_it_is_dropped_and_never_anothers,
    test_bad_tickets_are_refused_before_anything_is_opened_or_dialled,
    test_nothing_and_much,
    test_nothing_is_left_after_close,
    test_over_budget_taken_payloads_make_room_and_then_put_refuses_at_once,
    test_two_consumers_at_once_get_the_same_payload,
    test_values_arrive_bit_for_bit,
    test_what_a_kill_leaves_is_swept_at_the_next_start,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "handoff.md"


@pytest.fixture
def case() -> Case:
    """The example, which no table of the package knows."""
    return Case("tcp", transport="examples.tcp_transport:transport")


def test_the_document_writes_this_very_transport_in_sixty_lines() -> None:
    source = Path(tcp_transport.__file__).read_text(encoding="utf-8")
    assert source in re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert len(source.splitlines()) <= 60
