"""JPEG on the GPU beside libjpeg's: what comes out, what is left to others, and in which order with other work."""

from __future__ import annotations

import importlib.util
import io
import math
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import av
import numpy as np
import pytest
import torch
from av.video.frame import VideoFrame
from PIL import Image

from media import Frame, MediaError, decode_image, encode_image
from media.gpu_jpeg import GpuJpeg
from media.jpeg_header import JpegHeader, read_jpeg_header

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="needs torchvision"),
]
LIMIT = 1 << 24
DEVICE = torch.device("cuda", 0)
NAMES = ("astronaut", "coffee", "chelsea")
"""Of scikit-image's photographs: 512x512, 400x600 and, with sides that no block fits, 300x451."""
ROUNDING = 6
"""Grey levels. An inverse transform may be one level off (T.83), so Y, Cb and Cr of two decoders may differ by two:
2 + 2 * 1.772 in blue, and half a level for rounding."""
LONG = 50_000_000
"""Clock cycles of a kernel that does nothing: some 30 ms."""


@pytest.fixture(scope="module")
def gpu() -> GpuJpeg:
    with warnings.catch_warnings(action="ignore"):  # what torchvision's import says of itself
        return GpuJpeg(torch.device("cuda"))


@pytest.fixture(scope="module")
def photographs() -> dict[str, Frame]:
    data = pytest.importorskip("skimage.data")
    return {name: getattr(data, name)() for name in NAMES}


@pytest.fixture
def other_stream() -> Iterator[torch.cuda.Stream]:
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        yield stream
    torch.cuda.synchronize()


def jpeg(frame: Frame, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def on_device(frame: Frame) -> torch.Tensor:
    return torch.from_numpy(frame.copy()).to(DEVICE).permute(2, 0, 1).contiguous()


def on_host(picture: torch.Tensor | None) -> Frame:
    assert picture is not None and picture.dtype == torch.uint8 and picture.device == DEVICE
    return picture.permute(1, 2, 0).cpu().numpy()


def psnr(frame: Frame, wanted: Frame) -> float:
    return 10 * math.log10(255**2 / np.mean((frame.astype(float) - wanted) ** 2))


def bounds(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """The least and the greatest [H, W, 3] that a decoder may make of a JPEG, however it enlarges chroma.

    FFmpeg gives the planes as they are coded. Repeating samples, interpolating between neighbours as libjpeg does, any
    mean of neighbours: each gives a pixel some chroma between the least and the greatest of the nine samples about it.
    """
    (picture,) = av.CodecContext.create("mjpeg", "r").decode(av.Packet(data))
    assert isinstance(picture, VideoFrame)
    luma, *chroma = (
        np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width].astype(float)
        for plane in picture.planes
    )
    height, width = luma.shape
    ranges = []
    for plane in chroma:
        across, down = -(-width // plane.shape[1]), -(-height // plane.shape[0])
        around = np.stack([plane])
        if (across, down) != (1, 1):
            padded = np.pad(plane, 1, mode="edge")
            windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).reshape(*plane.shape, 9)
            around = np.moveaxis(windows, -1, 0)
        ranges.append(
            [
                extreme.repeat(down, 0).repeat(across, 1)[:height, :width] - 128
                for extreme in (around.min(0), around.max(0))
            ]
        )
    (blue_low, blue_high), (red_low, red_high) = ranges
    low = [luma + 1.402 * red_low, luma - 0.344136 * blue_high - 0.714136 * red_high, luma + 1.772 * blue_low]
    high = [luma + 1.402 * red_high, luma - 0.344136 * blue_low - 0.714136 * red_low, luma + 1.772 * blue_high]
    return np.stack(low, -1).clip(0, 255) - ROUNDING, np.stack(high, -1).clip(0, 255) + ROUNDING


def is_decoded(frame: Frame, data: bytes) -> bool:
    low, high = bounds(data)
    return frame.shape == low.shape and bool(((frame >= low) & (frame <= high)).all())


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("quality", [75, 95])
def test_photographs_are_decoded_as_by_any_sound_decoder(gpu, photographs, subsampling, quality):
    files = [jpeg(photograph, quality=quality, subsampling=subsampling) for photograph in photographs.values()]
    pictures = gpu.decode(files, max_pixels=LIMIT)
    for file, picture in zip(files, pictures, strict=True):
        ours, libjpegs = on_host(picture), decode_image(file, max_pixels=LIMIT)
        assert is_decoded(libjpegs, file)  # the bounds are sound
        assert is_decoded(ours, file)
        if subsampling == "4:4:4":  # nothing is enlarged: only rounding is left
            difference = np.abs(ours.astype(int) - libjpegs)
            assert difference.max() <= ROUNDING and difference.mean() < 1


def test_the_bounds_tell_a_wrong_picture(photographs):
    for photograph in photographs.values():
        file = jpeg(photograph, quality=95)
        frame = decode_image(file, max_pixels=LIMIT)
        for wrong in (frame[..., ::-1], np.roll(frame, 1, 1), np.roll(frame, 1, 0), frame[::-1], frame // 2):
            assert not is_decoded(wrong, file)


@pytest.mark.parametrize("options", [{"restart_marker_rows": 1}, {"optimize": True}, {"quality": 1}, {"quality": 100}])
def test_every_plain_kind_is_decoded(gpu, photographs, options):
    for photograph in photographs.values():
        file = jpeg(photograph, **options)
        (picture,) = gpu.decode([file + b"what follows is not read"], max_pixels=LIMIT)
        assert is_decoded(on_host(picture), file)


@pytest.mark.parametrize(
    "size", [(1, 1), (7, 5), (16, 16), (17, 33), (256, 448), (480, 854), (1080, 1920), (2160, 3840)]
)
def test_any_size_is_decoded_or_left_to_others(gpu, photographs, size):
    file = jpeg(np.asarray(Image.fromarray(photographs["astronaut"]).resize(size[::-1])))
    (picture,) = gpu.decode([file], max_pixels=LIMIT)
    assert is_decoded(on_host(picture), file) if picture is not None else min(size) < 64


def test_others_in_a_batch_are_left_and_the_rest_is_decoded(gpu, photographs):
    a, b, c = photographs.values()
    turned = Image.Exif()
    turned[0x0112] = 6
    good = [jpeg(a), jpeg(b, quality=95), jpeg(c, subsampling="4:4:4")]
    others = [
        jpeg(a)[:-1000], jpeg(a, progressive=True), encode_image(b, "png"), jpeg(c, exif=turned), b"", jpeg(a[..., 0]),
    ]  # fmt: skip
    pictures = gpu.decode([good[0], *others[:3], good[1], *others[3:], good[2]], max_pixels=LIMIT)
    assert [picture is not None for picture in pictures] == [True, *3 * [False], True, *3 * [False], True]
    for file, picture in zip(good, [pictures[0], pictures[4], pictures[8]], strict=True):
        assert is_decoded(on_host(picture), file)


def test_what_nvjpeg_refuses_is_left_and_the_rest_is_decoded(gpu, photographs):
    file = jpeg(photographs["coffee"])
    first, refused, last = gpu._decode([file, b"\xff\xd8 what the header would have told", file])
    assert refused is None
    assert is_decoded(on_host(first), file) and is_decoded(on_host(last), file)


def test_more_pixels_than_allowed_are_left_before_memory_is_taken(gpu):
    file = jpeg(np.zeros((4096, 4096, 3), np.uint8))
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    assert gpu.decode([file], max_pixels=4096 * 4096 - 1) == [None]
    assert torch.cuda.max_memory_allocated() == before
    assert gpu.decode([], max_pixels=LIMIT) == []


def damaged(file: bytes, seed: int) -> bytes:
    """`file` with 20 wrong bytes in its coded blocks, which are still what the header reader takes for plain."""
    random = np.random.default_rng(seed)
    wrong = bytearray(file)
    for at in random.integers(file.index(b"\x00\x3f\x00") + 3, len(file) - 2, 20):
        if 0xFF not in wrong[at - 1 : at + 1]:
            wrong[at] = random.integers(0, 255)
    assert isinstance(read_jpeg_header(bytes(wrong)), JpegHeader)
    return bytes(wrong)


def test_wrong_bits_break_neither_the_batch_nor_the_device(gpu, photographs):
    file = jpeg(photographs["chelsea"])
    before = on_host(gpu.decode([file], max_pixels=LIMIT)[0])
    for seed in range(0, 64, 4):
        batch = [damaged(file, seed + i) for i in range(4)]
        first, *others = gpu.decode([file, *batch], max_pixels=LIMIT)
        assert np.array_equal(on_host(first), before)
        assert all(picture is None or on_host(picture).shape == before.shape for picture in others)
    assert np.array_equal(on_host(gpu.decode([file], max_pixels=LIMIT)[0]), before)


@pytest.mark.xfail(strict=True, reason="nvJPEG shows what it decoded before: so servers decode by the CPU by default")
@pytest.mark.parametrize("options", [{}, {"subsampling": "4:4:4"}, {"restart_marker_rows": 1}])
def test_blocks_that_are_missing_show_nothing_of_other_pictures(gpu, photographs, options):
    """A scan that is cut, and closed again: the rest must not be what lay in that memory, maybe somebody else's."""
    file = jpeg(photographs["coffee"], quality=95, **options)
    if "restart_marker_rows" in options:  # all markers are there, with nothing between the later ones
        places = [at for at in range(len(file)) if file[at] == 0xFF and 0xD0 <= file[at + 1] <= 0xD7]
        middle = places[len(places) // 2]
        cut = file[:middle] + b"".join(file[at : at + 2] for at in places if at >= middle) + b"\xff\xd9"
    else:
        cut = file[: len(file) * 6 // 10].rstrip(b"\xff") + b"\xff\xd9"
    assert isinstance(read_jpeg_header(cut), JpegHeader)
    shape, seen = photographs["coffee"].shape, []
    for level in (0, 255):
        (filler,) = gpu.encode([torch.full((3, *shape[:2]), level, dtype=torch.uint8, device=DEVICE)])
        others = gpu.decode([filler] * 4, max_pixels=LIMIT)
        assert all(picture is not None for picture in others)
        others.clear()  # their memory is free for the next
        seen.append(gpu.decode([cut], max_pixels=LIMIT)[0])
        torch.cuda.synchronize()
    dark, bright = seen
    assert (dark is None and bright is None) or np.array_equal(on_host(dark), on_host(bright))


@pytest.mark.parametrize("quality", [50, 75, 90, 95])
def test_what_is_encoded_is_as_good_as_pillows_at_that_quality(gpu, photographs, quality):
    files = gpu.encode([on_device(photograph) for photograph in photographs.values()], quality)
    for photograph, file in zip(photographs.values(), files, strict=True):
        back = decode_image(file, max_pixels=LIMIT)
        assert back.shape == photograph.shape
        pillows = decode_image(encode_image(photograph, "jpeg", quality), max_pixels=LIMIT)
        assert psnr(back, photograph) >= psnr(pillows, photograph) - 0.5  # Pillow halves chroma, this does not
        assert read_jpeg_header(file) == JpegHeader(photograph.shape[1], photograph.shape[0], (1, 1), len(file))


def test_quality_counts_and_has_the_default_of_other_encoders(gpu, photographs):
    frame = on_device(photographs["astronaut"])
    sizes = [len(gpu.encode([frame], quality)[0]) for quality in (1, 25, 50, 75, 90, 100)]
    assert sizes == sorted(set(sizes))
    assert gpu.encode([frame]) == gpu.encode([frame], 90)


@pytest.mark.parametrize("size", [(16, 16), (17, 33), (300, 451), (2160, 3840)])
def test_any_size_is_encoded(gpu, photographs, size):
    frame = np.array(Image.fromarray(photographs["astronaut"]).resize(size[::-1]))
    (file,) = gpu.encode([on_device(frame)], 95)
    assert psnr(decode_image(file, max_pixels=LIMIT), frame) > 30


def test_frames_of_several_sizes_and_layouts_are_encoded_together(gpu, photographs):
    frames = [on_device(photograph) for photograph in photographs.values()]
    strided = [frame.permute(1, 2, 0).contiguous().permute(2, 0, 1) for frame in frames]
    assert not any(frame.is_contiguous() for frame in strided)
    assert gpu.encode(strided, 80) == gpu.encode(frames, 80) == [gpu.encode([frame], 80)[0] for frame in frames]
    assert gpu.encode([]) == []


@pytest.mark.parametrize(
    ("frame", "quality", "why"),
    [
        (torch.zeros(3, 8, 8, dtype=torch.uint8), 90, "must be on cuda:0"),
        (torch.zeros(3, 8, 8), 90, "must be uint8"),
        (torch.zeros(8, 8, 3, dtype=torch.uint8), 90, "must be uint8"),
        (torch.zeros(3, 1, 65_501, dtype=torch.uint8), 90, "cannot hold"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), 101, "quality 101"),
    ],
)
def test_only_frames_are_encoded(gpu, frame, quality, why):
    with pytest.raises(MediaError, match=why):
        gpu.encode([frame if "must be on" in why else frame.to(DEVICE)], quality)


def test_a_frame_is_encoded_after_what_the_current_stream_does_to_it(gpu, photographs, other_stream):
    wanted = on_device(photographs["coffee"])
    expected = gpu.encode([wanted])
    for _ in range(5):
        frame = torch.zeros_like(wanted)
        torch.cuda.synchronize()
        torch.cuda._sleep(LONG)
        frame.copy_(wanted)
        assert gpu.encode([frame]) == expected


def test_decoding_leaves_memory_alone_that_the_current_stream_still_reads(gpu, photographs, other_stream):
    file = jpeg(photographs["astronaut"])
    for _ in range(10):
        full = [torch.full((3, 512, 512), 7, dtype=torch.uint8, device=DEVICE) for _ in range(8)]
        torch.cuda.synchronize()
        torch.cuda._sleep(LONG)
        sums = [each.sum(dtype=torch.int64) for each in full]
        full.clear()
        pictures = gpu.decode([file] * 8, max_pixels=LIMIT)
        assert all(picture is not None for picture in pictures)
        assert [each.item() for each in sums] == [7 * 3 * 512 * 512] * 8


def test_pictures_last_until_the_current_stream_has_used_them(gpu, photographs, other_stream):
    first, second = jpeg(photographs["astronaut"]), jpeg(255 - photographs["astronaut"])
    expected = int(on_host(gpu.decode([first], max_pixels=LIMIT)[0]).sum(dtype=np.int64))
    for _ in range(10):
        pictures = gpu.decode([first] * 8, max_pixels=LIMIT)
        torch.cuda._sleep(LONG)
        sums = [picture.sum(dtype=torch.int64) for picture in pictures]
        pictures.clear()
        gpu.decode([second] * 8, max_pixels=LIMIT)
        assert [each.item() for each in sums] == [expected] * 8


def test_many_threads_at_once(gpu, photographs):
    frames = [on_device(photograph) for photograph in photographs.values()]
    files = [gpu.encode([frame])[0] for frame in frames]
    pictures = [on_host(gpu.decode([file], max_pixels=LIMIT)[0]) for file in files]

    def work(thread: int) -> bool:
        own = GpuJpeg(DEVICE) if thread % 2 else gpu
        with torch.cuda.stream(torch.cuda.Stream()):
            for turn in range(20):
                i, j = (thread + turn) % 3, (thread + turn + 1) % 3
                if own.encode([frames[i], frames[j]]) != [files[i], files[j]]:
                    return False
                decoded = own.decode([files[j], files[i]], max_pixels=LIMIT)
                if not all(
                    np.array_equal(on_host(picture), pictures[k]) for picture, k in zip(decoded, (j, i), strict=True)
                ):
                    return False
        return True

    torch.cuda.synchronize()
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
