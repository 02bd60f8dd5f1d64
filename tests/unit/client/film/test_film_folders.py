"""A result that is a folder of pictures."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from eden_client.film.resume_journal import open_journal
from eden_client.film.write.folder_result import FolderResult
from eden_client.film.write.results import FilmFrame
from media import MediaError

PIXELS = np.zeros((16, 16, 3), np.uint8)


def write(target, frames):
    place = target.parent if "%" in target.name else target
    journal = open_journal(place, {}, resume=False, overwrite=True)
    result = FolderResult(journal, str(target), None, lambda seconds: None, at_once=2, waiting=2)
    for index in range(frames):
        result.write(index // 2, FilmFrame(index, Fraction(index), pixels=PIXELS))
        if index % 2 or index == frames - 1:
            result.end_segment(index // 2)
    result.finish()
    return sorted(path.name for path in place.iterdir())


def test_a_shorter_film_takes_the_place_of_a_longer_one(tmp_path):
    assert write(tmp_path / "out", 5) == [f"00000{i}.png" for i in range(1, 6)]
    (tmp_path / "out" / "mine.txt").write_text("stays")
    assert write(tmp_path / "out", 3) == ["000001.png", "000002.png", "000003.png", "mine.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_names_may_hold_a_percent_sign(tmp_path):
    assert write(tmp_path / "out" / "50% f%02d.png", 2) == ["50% f01.png", "50% f02.png"]


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(MediaError, match="written as"):
        write(tmp_path / "out" / "f%02d.xyz", 1)
