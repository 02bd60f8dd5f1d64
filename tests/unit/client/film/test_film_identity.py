"""A film is resumed only if INPUT is what it was."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest

from eden_client.film.read.sources import identity
from eden_client.film.resume_journal import JournalError, open_journal
from media import encode_image

FRAMES = [np.full((32, 48, 3), level, np.uint8) for level in (0, 80, 160)]


@pytest.fixture
def shots(tmp_path):
    folder = tmp_path / "shots"
    folder.mkdir()
    for index, frame in enumerate(FRAMES):
        (folder / f"a{index}.png").write_bytes(encode_image(frame, "png"))
        os.utime(folder / f"a{index}.png", ns=(10**18, 10**18))
    return folder


def replaced(folder):
    (folder / "a1.png").write_bytes(encode_image(FRAMES[2], "png"))


def rewritten_in_the_same_length(folder):
    file = folder / "a1.png"
    file.write_bytes(file.read_bytes())


def one_more(folder):
    shutil.copy2(folder / "a2.png", folder / "a3.png")


def one_less(folder):
    (folder / "a2.png").unlink()


def renamed(folder):
    (folder / "a2.png").rename(folder / "a4.png")


@pytest.mark.parametrize("pattern", ["", "a*.png"])
@pytest.mark.parametrize("change", [replaced, rewritten_in_the_same_length, one_more, one_less, renamed])
def test_pictures_that_changed_are_another_input(shots, pattern, change):
    source = str(shots / pattern)
    before = identity(source)
    (shots / "notes.txt").write_text("no picture")
    (shots / "._a1.png").write_text("left behind by another system")
    assert identity(source) == before
    change(shots)
    assert identity(source) != before


def test_a_film_of_changed_pictures_is_not_resumed(shots, tmp_path):
    def begin_or_resume():
        open_journal(tmp_path / "film.mp4", {"INPUT": identity(str(shots))}, resume=True, overwrite=False).close()

    begin_or_resume()
    begin_or_resume()
    replaced(shots)
    with pytest.raises(JournalError, match="another INPUT"):
        begin_or_resume()
