"""The decoder's loop: what is taken when, what becomes of failures; and a small run of the whole."""

from __future__ import annotations

import json
import queue

import pytest
import torch

from bench.pipeline import __main__ as pipeline
from bench.pipeline.decoder import difference, draw
from eden import EdenConfig
from eden.random_weights import write_random
from handoff import HandoffSettings, PeerLost, TicketRejected, open_handoff
from tests.contract.peers import digest, make_output


class Recorded:
    """A decoder that draws nothing, and a hand-off; both write down what they are asked."""

    def __init__(self, handoff):
        self.handoff, self.log, self.seen = handoff, [], []

    def take(self, ticket):
        self.log.append("take")
        return self.handoff.take(ticket)

    def begin(self, outputs, as_uint8):
        assert as_uint8
        self.log.append("begin")
        self.seen += map(digest, outputs)
        return [torch.zeros(len(output) - 1, 3, 1, 1, dtype=torch.uint8) for output in outputs]

    def finish(self):
        self.log.append("finish")


@pytest.fixture
def recorded(tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    settings = HandoffSettings(kind="shared_memory", folder=tmp_path, shared_folder=shared)
    with open_handoff(settings, "cpu") as handoff:
        yield Recorded(handoff)
    assert not list(shared.iterdir())


def entries(handoff, lengths):
    tickets = queue.Queue()
    for number, length in enumerate(lengths):
        tickets.put((number, handoff.put(make_output(number, length=length))))
    return tickets


def test_the_next_is_taken_while_one_is_drawn_and_no_more_than_that(recorded):
    tickets = entries(recorded.handoff, (4, 2, 3))
    tickets.put(None)
    given = [(number, len(frames)) for number, frames in draw(recorded, recorded, tickets, None)]
    assert given == [(0, 3), (1, 1), (2, 2)]
    assert recorded.seen == [digest(make_output(number, length=length)) for number, length in enumerate((4, 2, 3))]
    assert recorded.log == ["take", *["begin", "take", "finish"] * 2, "begin", "finish"]
    assert recorded.handoff.in_flight() == 0


def test_a_clip_does_not_wait_for_the_next_ticket(recorded):
    tickets = entries(recorded.handoff, (2,))
    drawn = draw(recorded, recorded, tickets, None)
    assert next(drawn)[0] == 0
    tickets.put((1, recorded.handoff.put(make_output(1))))
    assert next(drawn)[0] == 1
    tickets.put(None)
    assert next(drawn, None) is None


def test_nothing_to_draw(recorded):
    tickets = queue.Queue()
    tickets.put(None)
    assert list(draw(recorded, recorded, tickets, None)) == []


@pytest.mark.parametrize("error", [TicketRejected, PeerLost])
def test_what_cannot_be_taken_is_told_once_the_drawing_has_ended(recorded, error):
    tickets = entries(recorded.handoff, (2, 2))
    with open_handoff(recorded.handoff.settings, "cpu") as other:
        lost = other.put(make_output(2))
    tickets.put((2, lost if error is PeerLost else b"no ticket"))
    drawn = draw(recorded, recorded, tickets, None)
    assert next(drawn)[0] == 0
    with pytest.raises(error):
        next(drawn)
    assert recorded.log[-3:] == ["begin", "take", "finish"]


def test_the_difference_is_that_of_the_least_alike_frame():
    frames = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    other = frames.clone()
    other[1] = 3
    assert difference(frames, frames.clone()) == 0
    assert difference(frames, other) == pytest.approx(3)


def test_a_small_run(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # for the decoders' processes: cores are few, and shared
    config = EdenConfig(hidden_dim=48, num_heads=3, dit_depth=1, decoder_depth=1)
    write_random(tmp_path, config)
    out = tmp_path / "results" / "small"
    pipeline.main(
        f"--checkpoint {tmp_path} --size 32x48 --frames 6 --clip 3 --precision fp32 --devices cpu cpu "
        f"--kinds shared_memory --second-decoder cpu --seconds 0.1 --out {out}".split()
    )
    rows = json.loads(out.with_suffix(".json").read_text())["rows"]
    assert [len(row["decoders"]) for row in rows] == [1, 2]
    for row in rows:
        assert row["routes"] == ["shared_memory"]
        assert row["largest_difference"] == 0
        assert row["pairs_s"] > 0
    assert out.with_suffix(".md").read_text().count("bit for bit") == 2
