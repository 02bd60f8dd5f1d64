"""Planes of 4:2:0 to RGB and back: by the standards' numbers, and as FFmpeg's converter has it."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from av import VideoFrame
from av.video.reformatter import ColorRange, Colorspace

from eden.planes import Matrix, Planes, Range, YuvFormat, to_planes, to_rgb
from media.video_reader import SCALING

FORMATS = [YuvFormat(matrix, range) for matrix in get_args(Matrix) for range in get_args(Range)]
COLORSPACES = {"bt709": Colorspace.ITU709, "bt601": Colorspace.ITU601, "bt2020": Colorspace.BT2020}
RANGES = {"limited": ColorRange.MPEG, "full": ColorRange.JPEG}

formats = pytest.mark.parametrize("format", FORMATS, ids=str)


def flat(colour: tuple[float, float, float], height: int = 4, width: int = 6) -> torch.Tensor:
    return torch.tensor(colour)[None, :, None, None].expand(2, 3, height, width)


def smooth(height: int = 96, width: int = 160, count: int = 2, seed: int = 0) -> torch.Tensor:
    """[count,3,H,W] in [0.1,0.9]: colours that change slowly."""
    coarse = torch.rand(count, 3, 3, 4, generator=torch.Generator().manual_seed(seed))
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)
    return 0.1 + 0.8 * fine.clamp(0, 1)


def parts(planes: Planes) -> list[np.ndarray]:
    """Y, Cb and Cr of the first frame."""
    height, width = planes.size
    samples = planes.samples[0].numpy().ravel()
    y, cb, cr = np.split(samples, [height * width, height * width * 5 // 4])
    return [y.reshape(height, width), *(each.reshape(height // 2, width // 2) for each in (cb, cr))]


def psnr(one: torch.Tensor, other: torch.Tensor) -> float:
    return -10 * (one.double() - other.double()).square().mean().log10().item()


# Levels by ITU-R BT.709-6, BT.601-7 and BT.2020-2 (limited), and ITU-T H.273 with VideoFullRangeFlag (full).
RED = {
    ("bt709", "limited"): (63, 102, 240),
    ("bt709", "full"): (54, 99, 255),
    ("bt601", "limited"): (81, 90, 240),
    ("bt601", "full"): (76, 85, 255),
    ("bt2020", "limited"): (74, 97, 240),
    ("bt2020", "full"): (67, 92, 255),
}


@formats
def test_levels_of_black_grey_white_and_red(format):
    limited = format.range == "limited"
    wanted = {
        (0.0, 0.0, 0.0): (16 if limited else 0, 128, 128),
        (0.2, 0.2, 0.2): (60 if limited else 51, 128, 128),
        (1.0, 1.0, 1.0): (235 if limited else 255, 128, 128),
        (1.0, 0.0, 0.0): RED[format.matrix, format.range],
    }
    for colour, levels in wanted.items():
        assert [np.unique(part).tolist() for part in parts(to_planes(flat(colour), format))] == [[n] for n in levels]


@formats
def test_grey_levels_come_and_go_unchanged(format):
    """Every level of luma that stands for an intensity, and none of it is coloured."""
    low, high = (16, 235) if format.range == "limited" else (0, 255)
    levels = torch.arange(low, high + 1, dtype=torch.uint8)
    samples = torch.full((len(levels), 6, 4), 128, dtype=torch.uint8)
    samples[:, :4] = levels[:, None, None]
    rgb = to_rgb(Planes(samples, format))
    expected = ((levels.float() - low) / (high - low))[:, None, None, None].expand_as(rgb)
    torch.testing.assert_close(rgb, expected, rtol=0, atol=1e-6)
    assert torch.equal(to_planes(rgb, format).samples, samples)


def test_levels_beyond_black_and_white_are_clipped():
    samples = torch.tensor([[0, 255], [15, 236], [128, 128]], dtype=torch.uint8)[None].expand(2, -1, -1)
    rgb = to_rgb(Planes(samples, YuvFormat("bt709", "limited")))
    assert torch.equal(rgb[:, :, :, 0], torch.zeros(2, 3, 2)) and torch.equal(rgb[:, :, :, 1], torch.ones(2, 3, 2))
    full = to_planes(flat((0.0, 0.0, 1.0)), YuvFormat("bt709", "full"))
    assert parts(full)[1].min() == 255  # 255.5, which is no level


def test_chroma_lies_in_even_columns_halfway_between_rows():
    """A ramp of chroma is a ramp of pixels, by where the samples are: (2i, 2j + 0.5)."""
    across, down = torch.meshgrid(torch.arange(8.0), torch.arange(6.0), indexing="xy")
    cr = 128 + 2 * across + 4 * down
    samples = torch.full((1, 18, 16), 128, dtype=torch.uint8)
    samples[0, 15:] = cr.to(torch.uint8).reshape(3, 16)
    red = to_rgb(Planes(samples, YuvFormat("bt601", "full")))[0, 0] * 255
    x, y = torch.meshgrid(torch.arange(16.0), torch.arange(12.0), indexing="xy")
    expected = 128 + 1.402 * (2 * x / 2 + 4 * (y - 0.5) / 2)
    torch.testing.assert_close(red[1:-1, :-1], expected[1:-1, :-1], rtol=0, atol=1e-3)
    torch.testing.assert_close(red[0], red[1] - 1.402, rtol=0, atol=1e-3)  # edges are repeated, and so a half as steep


def test_chroma_of_a_column_is_that_around_it():
    frames = torch.zeros(1, 3, 2, 8)
    frames[:, :, :, 3] = torch.tensor([1.0, 0.0, 0.0])[None, :, None]  # between the second and the third sample
    _, _, cr = parts(to_planes(frames, YuvFormat("bt709", "full")))
    quarter = 128 + 255 / 2 / 4
    assert cr.tolist() == [[128, round(quarter), round(quarter), 128]]


@formats
def test_smooth_pictures_come_back(format):
    frames = smooth()
    assert psnr(to_rgb(to_planes(frames, format)), frames) > 53
    eight_bits = (frames * 255).round().to(torch.uint8)
    assert (to_planes(eight_bits, format).samples.int() - to_planes(frames, format).samples.int()).abs().max() <= 1


@formats
def test_planes_of_smooth_pictures_come_back(format):
    planes = to_planes(smooth(), format)
    assert (to_planes(to_rgb(planes), format).samples.int() - planes.samples.int()).abs().max() <= 1


@formats
def test_rgb_is_as_ffmpeg_has_it(format):
    planes = to_planes(smooth(), format)
    for samples, ours in zip(planes.samples.numpy(), to_rgb(planes), strict=True):
        frame = VideoFrame.from_ndarray(samples, format="yuv420p")
        rgb = frame.reformat(
            format="rgb24",
            src_colorspace=COLORSPACES[format.matrix],
            src_color_range=RANGES[format.range],
            interpolation=SCALING,
        ).to_ndarray()
        assert psnr(torch.from_numpy(rgb).permute(2, 0, 1) / 255, ours) > 51


@formats
def test_planes_are_as_ffmpeg_has_them(format):
    pixels = (smooth() * 255).round().to(torch.uint8)
    for frame, ours in zip(pixels, to_planes(pixels, format).samples, strict=True):
        picture = VideoFrame.from_ndarray(frame.permute(1, 2, 0).contiguous().numpy(), format="rgb24").reformat(
            format="yuv420p",
            dst_colorspace=COLORSPACES[format.matrix],
            dst_color_range=RANGES[format.range],
            interpolation=SCALING,
        )
        assert psnr(torch.from_numpy(picture.to_ndarray()) / 255, ours / 255) > 52


def test_the_shape_is_that_of_ffmpegs_arrays():
    """H/2 odd: a plane of chroma ends in the middle of a row."""
    frames = smooth(18, 20, 1)
    planes = to_planes(frames, YuvFormat())
    frame = VideoFrame.from_ndarray(planes.samples[0].numpy(), format="yuv420p")
    assert (frame.height, frame.width) == planes.size == (18, 20)
    for plane, ours in zip(frame.planes, parts(planes), strict=True):
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
        assert np.array_equal(rows, ours)
    assert psnr(to_rgb(planes), frames) > 34


@pytest.mark.parametrize("shape", [(2, 24, 15), (2, 23, 16), (2, 25, 16), (24, 16), (2, 3, 24, 16)])
def test_shapes_that_are_none(shape):
    with pytest.raises(ValueError, match="planes must have the shape"):
        Planes(torch.zeros(shape, dtype=torch.uint8), YuvFormat())


def test_other_types_and_odd_sides():
    with pytest.raises(TypeError, match="float32"):
        Planes(torch.zeros(2, 24, 16), YuvFormat())
    for height, width in ((3, 4), (4, 3)):
        with pytest.raises(ValueError, match=f"even sides; these frames are {width}x{height} pixels"):
            to_planes(torch.zeros(2, 3, height, width), YuvFormat())


def test_the_encoder_sees_what_the_planes_show(tiny):
    encoder, _ = tiny
    planes = [to_planes(smooth(48, 80, 3, seed), format) for seed, format in enumerate((FORMATS[0], FORMATS[5]))]
    expected = encoder.encode_clips([to_rgb(each) for each in planes])
    for one, other in zip(encoder.encode_clips(planes), expected, strict=True):
        assert one.size == other.size == (48, 80)
        for name, tensor in one.tensors().items():
            torch.testing.assert_close(tensor, other.tensors()[name])
    mixed = encoder.encode_clips([planes[0], (smooth(48, 80) * 255).to(torch.uint8)])
    assert torch.equal(mixed[0].cond_dit, encoder.encode(planes[0]).cond_dit)


def test_planes_are_encoded_pass_by_pass(tiny, monkeypatch):
    encoder, _ = tiny
    planes = to_planes(smooth(48, 80, 5), YuvFormat())
    whole = encoder.encode(planes)
    monkeypatch.setattr(encoder.pass_size, "items", lambda tokens: 2)
    for name, tensor in encoder.encode(planes).tensors().items():
        torch.testing.assert_close(tensor, whole.tensors()[name], rtol=1e-4, atol=1e-4)


def test_the_decoder_draws_planes_of_what_it_draws(tiny):
    encoder, decoder = tiny
    outputs = encoder.encode_clips([smooth(48, 80, 4), smooth(46, 78, 2, seed=1)])
    format = YuvFormat("bt601", "full")
    made = decoder.interpolate(outputs, as_uint8=True, yuv=format)
    for planes, frames in zip(made, decoder.interpolate(outputs, as_uint8=True), strict=True):
        assert torch.equal(planes, to_planes(frames, format).samples)
    with pytest.raises(ValueError, match="uint8"):
        decoder.interpolate(outputs, yuv=format)
