"""What INPUT stands for."""

from __future__ import annotations

import os
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from eden import MIN_SIDE
from eden_client.film.read.sources import LEAST_SIDE, open_film
from media import MediaError, encode_image, encode_video

FRAMES = [np.full((32, 48, 3), level, np.uint8) for level in (0, 80, 160)]


def pictures_of(source, rate=None):
    with open_film(str(source), rate) as film:
        return film.look.rate, [picture.pixels[0, 0, 0] for picture in film.pictures()]


@pytest.mark.parametrize(("told", "rate"), [(None, 24), (Fraction(10), 10)])
def test_a_folder_and_a_pattern(tmp_path, told, rate):
    for index, frame in enumerate(FRAMES):
        (tmp_path / f"a{index}.png").write_bytes(encode_image(frame, "png"))
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "._a0.png").write_bytes(b"what another system keeps of a picture")
    (tmp_path / ".0005.png").write_bytes(encode_image(FRAMES[2], "png"))
    assert pictures_of(tmp_path, told) == (rate, [0, 80, 160])
    assert pictures_of(tmp_path / "a[01].png", told) == (rate, [0, 80])


def test_what_a_file_holds_counts_and_not_its_name(tmp_path):
    encode_video(FRAMES, Fraction(25), tmp_path / "film.mp4")
    (tmp_path / "film.mp4").rename(tmp_path / "film.png")
    rate, levels = pictures_of(tmp_path / "film.png")
    assert rate == 25 and len(levels) == 3
    pictures = [Image.fromarray(frame) for frame in FRAMES]
    pictures[0].save(tmp_path / "animation.png", save_all=True, append_images=pictures[1:], duration=100)
    assert pictures_of(tmp_path / "animation.png") == (10, [0, 80, 160])


def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.y4m")
    with pytest.raises(MediaError, match="not a file"):
        pictures_of(tmp_path / "pipe.y4m")


@pytest.mark.parametrize("size", [(15, 48), (48, 15), (8, 8)], ids=str)
def test_pictures_too_small_for_the_model_are_refused_at_once(tmp_path, size):
    assert LEAST_SIDE == MIN_SIDE
    for index in range(2):
        (tmp_path / f"{index}.png").write_bytes(encode_image(np.zeros((*size, 3), np.uint8), "png"))
    with pytest.raises(MediaError, match=f"its pictures have {size[1]}x{size[0]} pixels; each side needs 16 at least"):
        pictures_of(tmp_path)
