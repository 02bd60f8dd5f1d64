"""Films in one picture file: animated WebP and AVIF, TIFF of several pages."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from eden_client.film.read.sources import open_film
from media import MediaError

LEVELS = [0, 40, 80, 120, 160]


def pictures(alpha=False, sizes=None):
    made = []
    for number, level in enumerate(LEVELS):
        height, width = sizes[number] if sizes else (32, 48)
        pixels = np.full((height, width, 4), level, np.uint8)
        pixels[..., 3] = 255
        if alpha and number >= 2:
            pixels[:, :16, 3] = 0
        made.append(Image.fromarray(pixels if alpha else np.ascontiguousarray(pixels[..., :3])))
    return made


def save(path, images, **options):
    images[0].save(path, save_all=True, append_images=images[1:], **options)
    return path


def read(path, rate=None):
    with open_film(str(path), rate) as film:
        found = list(film.pictures())
        assert film.expected in (None, len(found)) and film.look.size == found[0].pixels.shape[:2]
        return film.look, found, film.warnings


@pytest.mark.parametrize(
    ("name", "options"), [("film.webp", {"lossless": True}), ("film.avif", {"quality": 100}), ("film.png", {})]
)
def test_an_animation_keeps_its_times(tmp_path, name, options):
    look, found, notes = read(save(tmp_path / name, pictures(), duration=[40, 40, 80, 40, 40], **options))
    assert notes == [] and not look.alpha
    assert [picture.time for picture in found] == [Fraction(each, 1000) for each in (0, 40, 80, 160, 200)]
    assert [round(picture.pixels.mean(), -1) for picture in found] == LEVELS
    assert [p.time for p in read(tmp_path / name, Fraction(5))[1]] == [Fraction(i, 5) for i in range(5)]


@pytest.mark.parametrize("name", ["film.webp", "film.avif", "film.png", "film.tif"])
def test_transparency_that_begins_later_is_kept(tmp_path, name):
    options = {"lossless": True} if name == "film.webp" else {}
    look, found, _ = read(save(tmp_path / name, pictures(alpha=True), duration=100, **options))
    assert look.alpha
    assert [picture.alpha is not None for picture in found] == [False, False, True, True, True]
    for picture in found[2:]:
        assert picture.alpha[:, :15].max() == 0 and picture.alpha[:, 17:].min() == 255
        assert picture.pixels[:, :15].max() == 0


def test_pages_are_pictures(tmp_path):
    look, found, notes = read(save(tmp_path / "film.tif", pictures()))
    assert look.rate == 24 and notes == [
        "pages without times: 24 per second are assumed (--source-fps sets another rate)"
    ]
    assert [picture.time for picture in found] == [Fraction(i, 24) for i in range(5)]
    assert [int(picture.pixels.mean()) for picture in found] == LEVELS
    assert read(tmp_path / "film.tif", Fraction(12))[0].rate == 12


def test_pages_of_sixteen_bits(tmp_path):
    pages = [Image.fromarray(np.full((32, 48), 257 * level, np.uint16)) for level in LEVELS]
    assert [int(p.pixels.mean()) for p in read(save(tmp_path / "film.tif", pages))[1]] == LEVELS


def test_pages_of_other_sizes_and_damaged_ones_are_named(tmp_path):
    sizes = [(32, 48), (32, 48), (16, 24), (32, 48), (32, 48)]
    with pytest.raises(MediaError, match=r"film\.tif: picture 3 is 24x16 pixels, the first is 48x32"):
        read(save(tmp_path / "film.tif", pictures(sizes=sizes)))
    path = save(tmp_path / "film.webp", pictures(), lossless=True)
    data = bytearray(path.read_bytes())
    at = data.rindex(b"VP8L")
    data[at + 16 :] = b"\xff" * (len(data) - at - 16)
    path.write_bytes(data)
    with pytest.raises(MediaError, match=r"film\.webp: picture 5 is damaged"):
        read(path)


@pytest.mark.parametrize("name", ["one.webp", "one.tif", "one.avif"])
def test_a_single_picture_is_one(tmp_path, name):
    pictures()[1].save(tmp_path / name)
    with open_film(str(tmp_path / name), None) as film:
        assert len(list(film.pictures())) == 1
