"""Pictures read ahead: in order, few of them, and by nobody once the reader is left."""

from __future__ import annotations

import threading
from fractions import Fraction

import numpy as np
import pytest

from eden_client.film.read.film import Picture
from eden_client.film.read.read_ahead import AHEAD, Closed, ReadAhead
from media import MediaError


class Drawn:
    """A film of so many pictures; then it fails, if it is to."""

    def __init__(self, count: int, error: Exception | None = None) -> None:
        self.count, self.error, self.read = count, error, 0
        self.waits = threading.Event()
        """More was read than is asked for."""

    def pictures(self):
        for number in range(self.count):
            self.read += 1
            if self.read > AHEAD:
                self.waits.set()
            yield Picture(np.zeros((2, 2, 3), np.uint8), Fraction(number))
        if self.error:
            raise self.error


def test_all_come_in_order():
    with ReadAhead(Drawn(40)) as ahead:
        assert [picture.time for picture in ahead.pictures()] == list(range(40))


def test_few_are_read_before_they_are_asked_for():
    film = Drawn(40)
    with ReadAhead(film) as ahead:
        pictures = ahead.pictures()
        next(pictures)  # while it is looked at, as many are read as there is room for, and one that has none
        assert film.waits.wait(60)
        for asked in range(2, 10):
            next(pictures)
            assert film.read <= AHEAD + asked
    assert film.read < 40


def test_what_ends_the_reading_comes_behind_its_pictures():
    with ReadAhead(Drawn(3, MediaError("it is damaged"))) as ahead:
        pictures = ahead.pictures()
        assert [next(pictures).time for _ in range(3)] == [0, 1, 2]
        with pytest.raises(MediaError, match="it is damaged"):
            next(pictures)


def test_nobody_reads_once_it_is_left_and_who_waits_is_told():
    film = Drawn(40)
    with ReadAhead(film) as ahead:
        pictures = ahead.pictures()
        next(pictures)
    read = film.read
    assert not any(thread.name == "decode" for thread in threading.enumerate())
    with pytest.raises(Closed):
        for _ in pictures:
            pass
    assert film.read == read


def test_without_a_reader_there_is_nothing_to_leave():
    film = Drawn(3)
    with ReadAhead(film):
        pass
    assert film.read == 0
