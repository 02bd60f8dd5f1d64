""".npy files of frames, and zips of pictures."""

from __future__ import annotations

import contextlib
import io
import pickle
import time
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from media import NPY_MAGIC, MediaError, decode_npy, encode_npy, zip_images
from media.arrays import read_header

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


def test_all_frames_together_are_bounded_too():
    data = encode_npy(np.zeros((4, 10, 20, 3), np.uint8))
    assert decode_npy(data, **LIMITS, max_clip_pixels=800).shape == (4, 10, 20, 3)
    with pytest.raises(MediaError, match=r"4 frames of 20x10 = 800 pixels in one \.npy; 799 are allowed"):
        decode_npy(data, **LIMITS, max_clip_pixels=799)


VERSIONS = [(1, 0), (2, 0), (3, 0)]
TYPES = ["|u1", "<u2", ">f4", "<f8", "|b1", "<c16", "|O", "|S5", "<U7", "|V3", "<M8[ns]", "<m8[25s]", "<M8"]


def header(text: str, version: tuple[int, int] = (1, 0)) -> bytes:
    """The front of a .npy file with this header."""
    length = len(text).to_bytes(2 if version == (1, 0) else 4, "little")
    return NPY_MAGIC + bytes(version) + length + text.encode("latin-1")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("descr", TYPES)
@given(shape=st.lists(st.integers(0, 3), max_size=6), order=st.sampled_from("CF"))
@settings(max_examples=20, deadline=None)
def test_headers_that_numpy_writes_are_read_as_they_are_meant(version, descr, shape, order):
    array = np.zeros(shape, descr, order)
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version)
    fortran_order = array.flags.f_contiguous and not array.flags.c_contiguous
    buffer.seek(0)
    np.lib.format.read_magic(buffer)
    length = int.from_bytes(buffer.read(2 if version == (1, 0) else 4), "little")
    assert read_header(buffer.getvalue()) == (array.shape, fortran_order, array.dtype, buffer.tell() + length)


@pytest.mark.parametrize(
    "text",
    [
        "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 4, 4, 3), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 4, 4, 3)}\n",
        '{"shape":(2,4,4,3,),"fortran_order":False,"descr":"|u1"}',
        "  {\t'shape' : ( 2 , 4 ,4, 3 ) ,\n'descr' : '=u1' , 'fortran_order' : False }   \n",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (2L, 4L, 4L, 3L), }",
    ],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_headers_of_other_writers_are_read(text, version):
    data = header(text, version)
    assert read_header(data) == ((2, 4, 4, 3), False, np.dtype(np.uint8), len(data))


GOOD = "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 4, 4, 3), }"
HOSTILE = [
    "",
    "{}",
    GOOD[1:],
    GOOD[:-1],
    GOOD + GOOD,
    GOOD.replace("}", "'more': True}"),
    GOOD.replace("}", "'descr': '|u1'}"),
    GOOD.replace("'fortran_order': False, ", ""),
    GOOD.replace("False", "0"),
    GOOD.replace("False", "'False'"),
    GOOD.replace("'|u1'", "|u1"),
    GOOD.replace("'|u1'", "'|u1\""),
    GOOD.replace("'|u1'", "'|u1,|u1'"),
    GOOD.replace("'|u1'", "'|u99999999999'"),
    GOOD.replace("'|u1'", "'x'"),
    GOOD.replace("'|u1'", "False"),
    GOOD.replace("(2, 4, 4, 3)", "(2)"),
    GOOD.replace("(2, 4, 4, 3)", "(,)"),
    GOOD.replace("(2, 4, 4, 3)", "(2,, 4)"),
    GOOD.replace("(2, 4, 4, 3)", "(-2, 4, 4, 3)"),
    GOOD.replace("(2, 4, 4, 3)", "(2.0, 4, 4, 3)"),
    GOOD.replace("(2, 4, 4, 3)", "(02, 4, 4, 3)"),
    GOOD.replace("(2, 4, 4, 3)", "[2, 4, 4, 3]"),
    GOOD.replace("(2, 4, 4, 3)", "(2, 4, 4, 9**9**9)"),
    GOOD.replace("(2, 4, 4, 3)", f"(2, 4, 4, {'9' * 5000})"),
    GOOD.replace("(2, 4, 4, 3)", f"({'1, ' * 3000}"),
    GOOD.replace("(2, 4, 4, 3)", "(" * 9000),
    GOOD.replace("(2, 4, 4, 3)", " " * 9000),
    GOOD.replace("{", "{" * 9000),
    GOOD + " " * 10_000,
    GOOD.replace("2", "\xb2"),
    "__import__('os').abort()",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("version", VERSIONS)
def test_any_other_header_is_damaged(text, version):
    started = time.process_time()
    with pytest.raises(MediaError, match=r"^not a \.npy array, or one with a damaged header$"):
        decode_npy(header(text, version) + bytes(96), **LIMITS)
    assert time.process_time() - started < 1


@pytest.mark.parametrize("data", [b"", NPY_MAGIC, NPY_MAGIC + b"\1\0\xff", NPY_MAGIC + b"\4\0", header(GOOD)[:-1]])
def test_a_front_cut_short_or_of_another_version_is_damaged(data):
    with pytest.raises(MediaError, match="damaged header"):
        decode_npy(data, **LIMITS)


def test_records_are_refused_by_name():
    with pytest.raises(MediaError, match="not records"):
        decode_npy(npy(np.zeros((2, 4, 4, 3), [("r", "u1"), ("g", "u1")])), **LIMITS)


def test_where_python_cannot_evaluate_a_header_arrays_are_read_all_the_same(monkeypatch):
    """As Python 3.11 now and then cannot, where the garbage collector runs in another thread meanwhile."""

    def fails(text):
        raise SystemError("AST constructor recursion depth mismatch (before=52, after=55)")

    clip = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), np.uint8)
    data = npy(clip)
    monkeypatch.setattr("ast.literal_eval", fails)
    assert np.array_equal(decode_npy(data, **LIMITS), clip)


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
