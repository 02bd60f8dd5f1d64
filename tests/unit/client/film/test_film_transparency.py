"""Transparency: found wherever a film keeps it, and when it begins later."""

from __future__ import annotations

import numpy as np
import pytest
from av.video.frame import VideoFrame
from PIL import Image

from eden_client.film.read.sources import open_film
from eden_client.film.read.transparency import is_transparent, laid_on_black
from tests.unit.client.film.odd_films import drawings, film

FORMATS = ["yuva420p", "yuva444p10le", "yuva422p12le", "gbrap", "gbrap10le", "rgba", "bgra", "argb", "abgr", "rgba64be"]


def clear_from(start, count, size=(48, 64)):
    """Drawings, of which something shows through from one on."""
    made = []
    for number, pixels in enumerate(drawings(count, size)):
        alpha = np.full(size, 255, np.uint8)
        if number >= start:
            alpha[10:30, 40:] = 60
        made.append(np.dstack([pixels, alpha]))
    return made


def with_alpha(name, alpha):
    """A frame of this pixel format and transparency [H, W], 0 to 1."""
    height, width = alpha.shape
    if name.startswith(("yuva", "gbrap")):
        frame = VideoFrame(width, height, name)
        bits = frame.format.components[-1].bits
        plane = frame.planes[3]
        rows = np.zeros((height, plane.line_size // (1 if bits == 8 else 2)), np.uint8 if bits == 8 else "<u2")
        rows[:, :width] = alpha * ((1 << bits) - 1)
        plane.update(rows.tobytes())
        return frame
    kind = np.uint16 if name == "rgba64be" else np.uint8
    pixels = np.full((height, width, 4), 7, kind)
    pixels[..., name.index("a")] = alpha * np.iinfo(kind).max
    return VideoFrame.from_ndarray(pixels, format=name)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("width", [64, 50, 33])
def test_one_transparent_pixel_is_seen_in_every_pixel_format(name, width):
    alpha = np.ones((16, width))
    assert not is_transparent(with_alpha(name, alpha))
    alpha[15, width - 1] = 0
    assert is_transparent(with_alpha(name, alpha))


def test_what_shows_through_is_laid_on_black():
    rgba = np.array([[[200, 100, 50, 255], [200, 100, 50, 128], [200, 100, 50, 0]]], np.uint8)
    pixels, alpha = laid_on_black(rgba)
    assert pixels.tolist() == [[[200, 100, 50], [100, 50, 25], [0, 0, 0]]] and alpha.tolist() == [[255, 128, 0]]
    assert laid_on_black(rgba[:, :1])[1] is None


FILMS = [
    ("film.webm", "libvpx-vp9", "yuva420p", {"auto-alt-ref": "0"}),
    ("film.webm", "libvpx", "yuva420p", {"auto-alt-ref": "0"}),
    ("film.mkv", "ffv1", "bgra", {}),
    ("film.mov", "prores_ks", "yuva444p10le", {}),
    ("film.mov", "png", "rgba", {}),
    ("film.mov", "qtrle", "argb", {}),
    ("film.apng", "apng", "rgba", {}),
]


@pytest.mark.parametrize(("name", "codec", "pixel_format", "options"), FILMS, ids=lambda value: str(value))
@pytest.mark.parametrize("start", [0, 7, 12], ids=["from the start", "later", "never"])
def test_transparency_of_films(tmp_path, name, codec, pixel_format, options, start):
    frames = clear_from(start, 12)
    path = film(tmp_path / name, codec, frames, pixel_format, options)
    with open_film(str(path), None) as source:
        found = list(source.pictures())
        assert source.look.alpha == (start < 12) and source.warnings == []
    assert [picture.alpha is not None for picture in found] == [number >= start for number in range(12)]
    for picture, given in zip(found[start:], frames[start:], strict=True):
        assert np.abs(picture.alpha.astype(int) - given[..., 3]).mean() < 4


def folder_of(path, frames):
    path.mkdir()
    for number, pixels in enumerate(frames):
        Image.fromarray(pixels).save(path / f"{number:03d}.png")
    return path


@pytest.mark.parametrize("start", [0, 3, 4, 99])
def test_transparency_of_a_folder(tmp_path, start):
    with open_film(str(folder_of(tmp_path / "shots", clear_from(start, 5))), None) as source:
        found = list(source.pictures())
        assert source.look.alpha == (start < 5) and source.warnings == []
    assert [picture.alpha is not None for picture in found] == [number >= start for number in range(5)]


@pytest.mark.parametrize(("kind", "number"), [("folder", 38), ("film", 37)])
def test_transparency_that_samples_miss_is_noted(tmp_path, kind, number):
    """One picture of many: laid on black, since the film is written without transparency by then."""
    frames = [np.dstack([pixels, np.full((16, 16), 255, np.uint8)]) for pixels in drawings(60, (16, 16))]
    frames[number][:8, :, 3] = 0
    if kind == "folder":
        path, note = folder_of(tmp_path / "shots", frames), "038.png"
    else:
        path, note = film(tmp_path / "film.mov", "png", frames, "rgba"), "0:00:01.5"
    with open_film(str(path), None) as source:
        found = list(source.pictures())
        assert not source.look.alpha
        assert source.warnings == [f"the film becomes transparent at {note}: laid on black from there"]
    assert all(picture.alpha is None for picture in found)
    assert found[number].pixels[:8].max() == 0 and found[number].pixels[8:].max() > 0 and found[number].original is None


def test_a_film_of_vp9_is_read_again_from_a_key_frame(tmp_path):
    options = {"auto-alt-ref": "0", "g": "6"}
    path = film(tmp_path / "film.webm", "libvpx-vp9", clear_from(0, 12), "yuva420p", options)
    with open_film(str(path), None) as source:
        whole = list(source.pictures())
        assert source.seek(whole[8].stamp)
        again = list(source.pictures())
    assert again[0].stamp <= whole[8].stamp and len(again) < 12
    for picture, first in zip(again, whole[-len(again) :], strict=True):
        assert picture.stamp == first.stamp and np.array_equal(picture.alpha, first.alpha)
