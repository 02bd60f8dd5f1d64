""".npy files of frames, and zips of pictures."""

from __future__ import annotations

import contextlib
import io
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from media import NPY_MAGIC, MediaError, decode_npy, encode_npy, zip_images

LIMITS = {"max_pixels": 10_000, "max_frames": 8}
clips = hnp.arrays(np.uint8, st.tuples(st.integers(1, 8), st.integers(1, 20), st.integers(1, 20), st.just(3)))


def npy(array: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


@given(clips)
@settings(max_examples=40, deadline=None)
def test_round_trip(clip):
    data = encode_npy(clip)
    assert data.startswith(NPY_MAGIC)
    assert np.array_equal(np.load(io.BytesIO(data), allow_pickle=False), clip)
    back = decode_npy(data, **LIMITS)
    assert np.array_equal(back, clip) and back.flags.writeable and back.flags.c_contiguous


def test_fortran_order_and_version_two_are_read():
    clip = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), np.uint8)
    assert np.array_equal(decode_npy(npy(np.asfortranarray(clip)), **LIMITS), clip)
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, clip, version=(2, 0))
    assert np.array_equal(decode_npy(buffer.getvalue(), **LIMITS), clip)


@pytest.mark.parametrize(
    ("array", "wrong"),
    [
        (np.zeros((2, 4, 4, 3)), "float64"),
        (np.zeros((2, 4, 4), np.uint8), r"\[2, 4, 4\]"),
        (np.zeros((2, 4, 4, 4), np.uint8), r"\[2, 4, 4, 4\]"),
        (np.zeros((2, 0, 4, 3), np.uint8), r"\[2, 0, 4, 3\]"),
        (np.zeros((9, 4, 4, 3), np.uint8), "9 frames"),
        (np.zeros((1, 101, 100, 3), np.uint8), "10100 pixels"),
    ],
)
def test_other_arrays_are_refused_by_name(array, wrong):
    with pytest.raises(MediaError, match=wrong):
        decode_npy(npy(array), **LIMITS)


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


def test_objects_are_never_unpickled():
    array = np.empty((1, 1, 1, 3), object)
    array[...] = Trap()
    data = npy(array, allow_pickle=True)
    assert pickle.dumps(Trap()) is not None
    with pytest.raises(MediaError, match="object"):
        decode_npy(data, **LIMITS)


def test_missing_and_surplus_bytes_are_counted():
    data = encode_npy(np.zeros((2, 4, 4, 3), np.uint8))
    with pytest.raises(MediaError, match="needs 96 bytes after its header, 95"):
        decode_npy(data[:-1], **LIMITS)
    with pytest.raises(MediaError, match="97"):
        decode_npy(data + b"x", **LIMITS)


@given(st.binary(max_size=120), st.integers(0, 200))
@settings(max_examples=60, deadline=None)
def test_damage_gives_frames_or_a_media_error(noise, at):
    data = encode_npy(np.zeros((2, 4, 4, 3), np.uint8))
    with contextlib.suppress(MediaError):
        decode_npy(data[:at] + noise + data[at + len(noise) :], **LIMITS)


def test_a_zip_names_its_pictures_in_order_and_depends_on_nothing_else():
    pictures = [b"one", b"two", b"three"]
    data = zip_images(iter(pictures), "png")
    assert data == zip_images(pictures, "png")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == ["frame_000000.png", "frame_000001.png", "frame_000002.png"]
        assert [archive.read(name) for name in archive.namelist()] == pictures
