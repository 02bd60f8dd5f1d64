"""JPEG on the GPU, by nvJPEG through torchvision. Optional: `media` needs neither torch nor torchvision for the rest.

What torchvision's wrapper (0.26 to 0.28) leaves to its callers, by its source and its issues:

- It decodes on a stream of its own, into memory allocated for the caller's stream, and does not wait for work of that
  stream on this memory; and the GPU's decoding engine ignores streams altogether (pytorch/vision#9606). So pictures
  are decoded into memory of another stream, which is reused only when no unfinished work uses it.
- It encodes on a stream of its own too, and does not wait for the frames. So the frames are waited for first.
- A picture that it refuses fails the whole batch. So the header decides which pictures are decoded here, and a batch
  that fails is decoded one by one.
- Where a scan ends early, nvJPEG fills the rest of the picture with pixels of an earlier one, which may be another
  caller's (measured on an H100). They lie in its own buffers, so nobody else can clear them; and whether a scan is
  complete is known only after decoding. So decode nothing here that comes from strangers.
- A process has one decoder and one encoder. Any thread may call them, one at a time. With a second GPU in the same
  process they would be made anew at every change: use one GPU per process.
- Chroma of 4:2:0 and 4:2:2 is enlarged by repeating it, where libjpeg interpolates; JPEGs are written in 4:4:4, where
  Pillow writes 4:2:0. `python -m bench.jpeg` measures both.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from media.errors import MediaError
from media.images import DEFAULT_QUALITY
from media.jpeg_header import JpegHeader, read_jpeg_header

if TYPE_CHECKING:
    import torch

_OLDEST = (0, 26)
"""The oldest usable torchvision. Versions up to 0.22 return JPEGs before they are complete (pytorch/vision#9060)."""
_LARGEST_SIDE = 65_500
"""Pixels per side; libjpeg's limit, so that both encoders give the same answer."""


class Unavailable(Exception):
    """JPEG cannot be decoded or encoded on the GPU here. The message says why."""


class GpuJpeg:
    """Decodes and encodes JPEG on one CUDA device. Its methods may run in any thread."""

    def __init__(self, device: torch.device) -> None:
        """Try a small picture, which also sets up nvJPEG (hundreds of milliseconds, once).

        Raises Unavailable: there is no CUDA device, no torchvision, or no nvJPEG in it.
        """
        import torch

        if device.type != "cuda":
            raise Unavailable(f"nvJPEG needs a CUDA device, not {device.type}")
        self._coder = _torchvision()
        if not torch.cuda.is_available():
            raise Unavailable("PyTorch finds no CUDA device")
        try:
            index = torch.cuda.current_device() if device.index is None else device.index
            self.device = torch.device("cuda", index)
            self._stream = _own_stream(index)
            self._try_out()
        except Exception as error:  # of many types: a missing operator, a missing library, a device out of memory
            raise Unavailable(f"nvJPEG does not work here: {str(error).strip().partition(chr(10))[0]}") from error

    def decode(self, data: Sequence[bytes], *, max_pixels: int) -> list[torch.Tensor | None]:
        """Each picture as uint8 [3, H, W] on the device, ready for use on the current stream.

        None for a picture that `media.decode_image` has to decode: it is no plain JPEG (media/jpeg_header.py), has more
        than `max_pixels`, or is refused by nvJPEG. Raises RuntimeError: the device has failed.
        """
        pictures: list[torch.Tensor | None] = [None] * len(data)
        payloads: dict[int, memoryview] = {}
        for index, file in enumerate(data):
            header = read_jpeg_header(file)
            if isinstance(header, JpegHeader) and header.width * header.height <= max_pixels:
                payloads[index] = memoryview(file)[: header.end]
        if payloads:
            for index, picture in zip(payloads, self._decode(list(payloads.values())), strict=True):
                pictures[index] = picture
        return pictures

    def encode(self, frames: Sequence[torch.Tensor], quality: int = DEFAULT_QUALITY) -> list[bytes]:
        """Each frame, uint8 [3, H, W] on the device, as a baseline JPEG in 4:4:4. Quality is 1 to 100.

        Waits for the work of the current stream. Raises MediaError: the quality is out of range, or a frame has another
        shape, type or device, or a side of more than 65500 pixels; RuntimeError: nvJPEG or the device has failed.
        """
        import torch

        if not 1 <= quality <= 100:
            raise MediaError(f"quality {quality}: it goes from 1 to 100")
        for frame in frames:
            self._check(frame)
        if not frames:
            return []
        rows = [frame.contiguous() for frame in frames]
        torch.cuda.current_stream(self.device).synchronize()
        with torch.cuda.stream(self._stream):
            packed = self._coder.encode_jpeg(rows, quality)
            joined = torch.cat(packed).cpu()  # one copy to the host, and packed is complete when it returns
        parts = torch.split(joined, [part.numel() for part in packed])
        return [part.numpy().tobytes() for part in parts]

    def _decode(self, payloads: Sequence[bytes | memoryview]) -> list[torch.Tensor | None]:
        """Decode all in one batch; if that fails, one by one, with None for those that nvJPEG refuses."""
        import torch

        try:
            return [*self._decode_batch(payloads)]
        except RuntimeError:
            # Raises if the device has failed; else all decoding into the memory that is freed next has ended.
            torch.cuda.synchronize(self.device)
            if len(payloads) == 1:
                return [None]
        return [picture for payload in payloads for picture in self._decode([payload])]

    def _decode_batch(self, payloads: Sequence[bytes | memoryview]) -> list[torch.Tensor]:
        """Decode all in one batch. Raises RuntimeError: one of them is refused."""
        import torch

        files = [torch.frombuffer(bytearray(payload), dtype=torch.uint8) for payload in payloads]
        current = torch.cuda.current_stream(self.device)
        with torch.cuda.stream(self._stream):
            pictures: list[torch.Tensor] = self._coder.decode_jpeg(
                files, mode=self._coder.ImageReadMode.RGB, device=self.device
            )
        # They are complete; their memory may be used anew only when the current stream is done with them.
        for picture in pictures:
            picture.record_stream(current)
        return pictures

    def _check(self, frame: torch.Tensor) -> None:
        import torch

        if frame.dtype != torch.uint8 or frame.ndim != 3 or frame.shape[0] != 3 or frame.numel() == 0:
            raise MediaError(f"a frame must be uint8 [3, H, W], not {frame.dtype} {list(frame.shape)}")
        if frame.device != self.device:
            raise MediaError(f"a frame must be on {self.device}, not on {frame.device}")
        if max(frame.shape) > _LARGEST_SIDE:
            raise MediaError(f"a jpeg cannot hold {frame.shape[2]}x{frame.shape[1]} pixels")

    def _try_out(self) -> None:
        import torch

        grey = torch.full((3, 16, 16), 100, dtype=torch.uint8, device=self.device)
        (picture,) = self._decode_batch(self.encode([grey]))
        if picture.shape != grey.shape or (picture.int() - grey.int()).abs().max().item() > 2:
            raise RuntimeError("a grey square was decoded to other pixels")


def _torchvision() -> Any:
    """torchvision's module for pictures. Raises Unavailable: it is missing, too old, or does not load."""
    try:
        version: str = importlib.import_module("torchvision").__version__
        module = importlib.import_module("torchvision.io")
    except ImportError as error:
        raise Unavailable(f"torchvision is not installed ({error})") from error
    except Exception as error:  # built for another version of PyTorch
        raise Unavailable(f"torchvision does not load: {error}") from error
    if tuple(int(number) for number in re.findall(r"\d+", version)[:2]) < _OLDEST:
        raise Unavailable(f"torchvision {version} is older than {_OLDEST[0]}.{_OLDEST[1]}")
    return module


@functools.cache
def _own_stream(index: int) -> torch.cuda.Stream:
    """The stream for a GPU, one per process. Nothing on it ever waits for the streams of callers.

    It has high priority, so that it is none of the 32 streams that PyTorch gives to others in turn.
    """
    import torch

    stream: torch.cuda.Stream = torch.cuda.Stream(index, priority=-1)
    return stream
