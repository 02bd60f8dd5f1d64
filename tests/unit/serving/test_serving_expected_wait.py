"""What would wait too long for the decoder is refused: by what is taken, not by how many wait."""

import pytest

from handoff import OverCapacity
from serving.expected_wait import ExpectedWait


class Decoder:
    """A queue and a clock."""

    def __init__(self, batch=2, most=5.0):
        self.now, self.queue = 1000.0, []
        self.waiting = ExpectedWait(lambda: list(self.queue), batch, most, lambda: self.now)

    def admitted(self, requests=1):
        """How many of a batch of requests are; those are put."""
        self.waiting.look()
        put = 0
        for index in range(requests):
            try:
                self.waiting.check(index)
            except OverCapacity as error:
                assert f"{len(self.queue) - put + index} clips wait" in str(error)
                continue
            put += 1
            self.queue.append(self.now + index / 1000)
        return put

    def takes(self, clips, seconds):
        self.now += seconds
        del self.queue[:clips]


def test_a_burst_is_let_in_as_long_as_nothing_is_known_of_the_pace():
    assert Decoder(batch=4).admitted(64) == 64


def test_once_the_pace_is_known_no_more_is_let_in_than_can_be_taken_in_time():
    decoder = Decoder(most=5)
    decoder.admitted(8)
    for _ in range(8):
        decoder.takes(1, 0.5)
        decoder.admitted(4)
        assert len(decoder.queue) <= 11  # the last has ten before it
    assert len(decoder.queue) == 11
    decoder.takes(10, 5)
    decoder.admitted(40)
    assert len(decoder.queue) == 11


def test_a_quick_decoder_has_a_long_queue():
    decoder = Decoder(most=5, batch=8)
    decoder.admitted(64)
    for _ in range(20):
        decoder.takes(32, 0.1)
        assert decoder.admitted(32) == 32


def test_a_lone_clip_that_was_taken_while_nobody_looked_says_nothing_of_the_pace():
    decoder = Decoder(most=5)
    for _ in range(5):
        decoder.admitted()
        decoder.takes(1, 60)
    assert decoder.admitted(30) == 30


def test_a_decoder_that_takes_nothing_gets_a_batch_and_then_one_now_and_then():
    decoder = Decoder(batch=2, most=5)
    assert decoder.admitted(2) == 2
    decoder.now += 5.1
    assert decoder.admitted(4) == 1
    for _ in range(10):
        decoder.now += 0.5
        assert decoder.admitted(2) == 0
    decoder.now += 0.5
    assert decoder.admitted(2) == 1
    decoder.takes(4, 0.1)
    assert decoder.admitted() == 1


def test_after_slow_clips_quick_ones_are_soon_let_in_again():
    decoder = Decoder(batch=2, most=5)
    decoder.admitted(3)
    decoder.takes(1, 17)
    decoder.admitted(2)
    for _ in range(12):
        decoder.takes(1, 0.1)
        decoder.admitted(4)
    assert len(decoder.queue) > 10


def test_less_than_a_batch_may_always_wait():
    decoder = Decoder(batch=8, most=5)
    decoder.admitted(7)
    decoder.now += 100
    decoder.waiting.look()
    decoder.waiting.check(0)
    with pytest.raises(
        OverCapacity, match=r"8 clips wait for the decoder, which takes about 100\.0 s; at most 5 s are allowed"
    ):
        decoder.waiting.check(1)
