"""Which segment is made by whom."""

from __future__ import annotations

import pytest

from eden_client.film.local_processes import next_for


@pytest.mark.parametrize(
    ("made", "waiting", "in_hand", "got"),
    [
        (4, [7, 5, 8], {6}, 5),  # where it has left off
        (4, [7, 8, 9], {5, 6}, 8),  # not what another one comes to
        (None, [7, 8, 9], {5, 6}, 8),
        (None, [7, 8], {6}, 7),  # they are few: first come, first served
        (4, [7, 5], {6}, 5),
        (1, [7, 8, 9], {6, 7, 8}, 7),  # all of them are what others come to
    ],
)
def test_a_worker_goes_on_where_it_has_left_off(made, waiting, in_hand, got):
    assert waiting[next_for(made, waiting, in_hand, count=2)] == got


@pytest.mark.parametrize("count", [1, 2, 7])
def test_every_segment_is_made_once_and_mostly_by_who_has_read_up_to_it(count):
    """All segments take as long, and twice as many as workers are planned ahead of those made."""
    workers: dict[int, int | None] = dict.fromkeys(range(count))
    planned, made, went_on = 0, [], 0
    waiting: list[int] = []
    while len(made) < 100:
        in_hand: dict[int, int] = {}
        for worker, before in workers.items():
            while planned < min(100, len(made) + 3 * count):
                waiting.append(planned)
                planned += 1
            if waiting:
                job = in_hand[worker] = waiting.pop(next_for(before, waiting, in_hand.values(), count))
                went_on += before is not None and job == before + 1
        made += in_hand.values()
        workers |= in_hand
    assert sorted(made) == list(range(100))
    assert went_on >= 40
