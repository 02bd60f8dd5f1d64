"""Converts pictures to frames in an encoder's pixel format, in the colour space of their film."""

from __future__ import annotations

import numpy as np
from av.video.format import VideoFormat as PixelFormat
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace

from eden_client.api.yuv import Matrix, YuvFormat
from eden_client.film.read.film import SCALER_THREADS, Colours, Picture, VideoFormat, samples_of
from media.images import Frame
from media.video_reader import SCALING

_MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.SMPTE170M,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}
"""H.273's matrices, and the names of FFmpeg's scaler for them. An untagged film is taken for BT.601, as FFmpeg does."""

_YUV_MATRICES: dict[int, Matrix] = {1: "bt709", 2: "bt601", 5: "bt601", 6: "bt601", 9: "bt2020"}
"""The matrices with which planes can be sent to a server."""
_PLANES = ("yuv420p", "yuvj420p")

BT709 = Colours(1, 1, 1, 1)


class FrameConverter:
    """Makes frames in one pixel format for films of `video_format`.

    pad       make odd sides even, by repeating the last row or column
    rgb_into  the colour space for films that are RGB
    """

    def __init__(
        self, video_format: VideoFormat, pixel_format: str, pad: bool = False, rgb_into: Colours = BT709
    ) -> None:
        self._format, self._pad = pixel_format, pad
        target = PixelFormat(pixel_format, 16, 16)
        from_rgb = PixelFormat(video_format.pixel_format, 16, 16).is_rgb or video_format.pixel_format == "pal8"
        self.colours = rgb_into if from_rgb and not target.is_rgb else video_format.colours
        """The colour tags of the result."""
        self._alpha = any(c.is_alpha for c in target.components)
        self._through = "rgba64le" if self._alpha else "rgb48le"
        matrix = _YUV_MATRICES.get(video_format.colours.matrix)
        even = video_format.size[0] % 2 == video_format.size[1] % 2 == 0
        planes = video_format.pixel_format in _PLANES and pixel_format in _PLANES and not video_format.alpha
        self.yuv: YuvFormat | None = None
        """The format of planes that both the film's pictures and the encoder's frames have; None: there is none."""
        if planes and even and matrix:
            self.yuv = YuvFormat(matrix, "full" if video_format.colours.range == 2 else "limited")

    def of_picture(self, picture: Picture) -> VideoFrame:
        """A frame of a picture of the film; its original, if that has the encoder's pixel format already."""
        if picture.original is None:
            return self.made(picture.pixels, picture.alpha)
        with picture.lock:
            return self.kept(picture.original)

    def planes_of(self, picture: Picture) -> Frame:
        """A picture of the film as planes [H*3/2, W] uint8 in the format `yuv`."""
        frame = self.of_picture(picture)
        height, width = frame.height, frame.width
        planes = np.empty((height * 3 // 2, width), np.uint8)
        luma, chroma = planes[:height], planes[height:].reshape(2, height // 2, width // 2)
        for place, plane in zip((luma, *chroma), frame.planes, strict=True):
            place[...] = samples_of(plane)
        return planes

    def made(self, pixels: Frame, alpha: np.ndarray | None = None) -> VideoFrame:
        """A frame of RGB pixels [H, W, 3] with transparency [H, W], if the format has any; or of planes [H*3/2, W]."""
        if pixels.ndim == 2:
            # `from_numpy_buffer` copies nothing, but would lose rows where H is no multiple of four.
            into = VideoFrame.from_numpy_buffer if pixels.shape[0] % 6 == 0 else VideoFrame.from_ndarray
            return into(pixels, format=self._format)
        if self._alpha:
            opaque = np.full(pixels.shape[:2], 255, np.uint8) if alpha is None else alpha
            pixels = np.dstack([_off_black(pixels, opaque), opaque])
        frame = VideoFrame.from_ndarray(self._even(pixels), format="rgba" if self._alpha else "rgb24")
        return self._converted(frame)

    def kept(self, original: VideoFrame) -> VideoFrame:
        """A frame of the film itself, with all the bits that the format can take."""
        if self._pad:
            pixels = original.to_ndarray(format=self._through, interpolation=SCALING, threads=SCALER_THREADS)
            return self._converted(VideoFrame.from_ndarray(self._even(pixels), format=self._through))
        if original.format.name == self._format:
            return original
        if original.format.is_rgb or original.format.name == "pal8":
            return self._converted(original)
        return original.reformat(
            format=self._format, interpolation=SCALING, dst_color_range=self._range(), threads=SCALER_THREADS
        )

    def _converted(self, frame: VideoFrame) -> VideoFrame:
        matrix = _MATRICES.get(self.colours.matrix, Colorspace.DEFAULT)
        return frame.reformat(
            format=self._format,
            dst_colorspace=matrix,
            dst_color_range=self._range(),
            interpolation=SCALING,
            threads=SCALER_THREADS,
        )

    def _range(self) -> ColorRange:
        return ColorRange.JPEG if self.colours.range == 2 else ColorRange.MPEG

    def _even(self, pixels: np.ndarray) -> np.ndarray:
        if self._pad:
            down, across = pixels.shape[0] % 2, pixels.shape[1] % 2
            pixels = np.pad(pixels, ((0, down), (0, across), (0, 0)), mode="edge")
        return np.ascontiguousarray(pixels)


def _off_black(pixels: Frame, alpha: np.ndarray) -> Frame:
    """The colours before they were laid on black."""
    full = np.maximum(alpha, 1).astype(np.uint16)[..., None]
    colours: Frame = np.minimum((pixels.astype(np.uint16) * 255 + full // 2) // full, 255).astype(np.uint8)
    return colours
