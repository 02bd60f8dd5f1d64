"""Compares JPEG by libjpeg (Pillow) and on the GPU (nvJPEG): time, difference of the pixels, size of the files.

    python -m bench.jpeg --out bench/results/jpeg-h100                  # within 90 s
    python -m bench.jpeg --device cpu --out bench/results/jpeg-cpu      # libjpeg alone

Both do the same work, with all copies: from files in host memory to uint8 [3, H, W] on the device, and back. Pictures
are scikit-image's photographs, cropped and resized. Writes OUT.json and OUT.md.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import islice, product
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import skimage.data
import torch
from PIL import Image

from bench import machine
from bench.jpeg.report import write_report
from bench.model.measuring import median_ms
from bench.quality.measures import psnr
from media import Frame, decode_image, encode_image
from media.gpu_jpeg import GpuJpeg, Unavailable
from media.images import DEFAULT_QUALITY
from media.signals import exit_when_told_to

SIZES = ((256, 448), (480, 854), (1080, 1920))
BATCHES = (1, 2, 16)
THREADS = 16
QUALITIES = (95, 75)
"""Qualities of the files that are decoded; times are of the first."""
COMPARED = (480, 854)
"""(H, W) of the pictures that are compared."""
PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "rocket", "retina")
LIMIT = 1 << 24


class Coder(Protocol):
    def decode(self, files: Sequence[bytes]) -> list[torch.Tensor]:
        """Pictures uint8 [3, H, W] on the device."""

    def encode(self, frames: Sequence[torch.Tensor]) -> list[bytes]:
        """JPEGs of the default quality, of frames uint8 [3, H, W] on the device."""


class Libjpeg:
    """libjpeg as the server uses it: `media.decode_image` and `encode_image`, with copies to and from the device."""

    def __init__(self, device: torch.device, pool: ThreadPoolExecutor | None) -> None:
        self._device = device
        self._map: Callable[..., Iterator[Any]] = map if pool is None else pool.map

    def decode(self, files: Sequence[bytes]) -> list[torch.Tensor]:
        return list(self._map(self._decode, files))

    def encode(self, frames: Sequence[torch.Tensor]) -> list[bytes]:
        return list(self._map(self._encode, frames))

    def _decode(self, file: bytes) -> torch.Tensor:
        frame = torch.from_numpy(decode_image(file, max_pixels=LIMIT))
        return frame.to(self._device).permute(2, 0, 1).contiguous()

    def _encode(self, frame: torch.Tensor) -> bytes:
        return encode_image(to_host(frame), "jpeg")


class Nvjpeg:
    def __init__(self, gpu: GpuJpeg) -> None:
        self._gpu = gpu

    def decode(self, files: Sequence[bytes]) -> list[torch.Tensor]:
        pictures = [picture for picture in self._gpu.decode(files, max_pixels=LIMIT) if picture is not None]
        if len(pictures) < len(files):
            raise RuntimeError("nvJPEG cannot decode one of the photographs")
        return pictures

    def encode(self, frames: Sequence[torch.Tensor]) -> list[bytes]:
        return self._gpu.encode(frames)


def to_host(frame: torch.Tensor) -> Frame:
    return np.ascontiguousarray(frame.permute(1, 2, 0).contiguous().cpu().numpy())


def to_device(frame: Frame, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(frame).to(device).permute(2, 0, 1).contiguous()


def photographs(size: tuple[int, int]) -> Iterator[Frame]:
    """The middle of each photograph, resized to `size` (H, W); then each again mirrored, upside down, and both."""
    for down, across in product((1, -1), (1, -1)):
        for name in PHOTOGRAPHS:
            picture = getattr(skimage.data, name)()
            height = min(picture.shape[0], picture.shape[1] * size[0] // size[1])
            width = min(picture.shape[1], height * size[1] // size[0])
            top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
            middle = Image.fromarray(picture[top : top + height, left : left + width])
            resized = middle.resize((size[1], size[0]), Image.Resampling.LANCZOS)
            yield np.array(resized)[::down, ::across].copy()


def by_pillow(frame: Frame, quality: int, subsampling: str = "4:2:0") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return buffer.getvalue()


@contextmanager
def coders(device: torch.device, gpu: GpuJpeg | None) -> Iterator[dict[str, Coder]]:
    with ThreadPoolExecutor(THREADS) as pool:
        ways: dict[str, Coder] = {"libjpeg": Libjpeg(device, None), "libjpeg, threads": Libjpeg(device, pool)}
        if gpu is not None:
            ways["nvjpeg"] = Nvjpeg(gpu)
        yield ways


def times(ways: dict[str, Coder], device: torch.device, seconds: float) -> Iterator[dict[str, Any]]:
    """Measure ms per picture of each case, and ms of a lone pair: two pictures decoded, then one encoded."""
    for size in SIZES:
        frames = list(islice(photographs(size), max(BATCHES)))
        files = [by_pillow(frame, QUALITIES[0]) for frame in frames]
        pictures = [to_device(frame, device) for frame in frames]
        for (name, way), batch in product(ways.items(), BATCHES):
            if batch == 1 and name == "libjpeg, threads":
                continue  # one picture is the work of one thread
            row = {"size": f"{size[0]}x{size[1]}", "way": name, "batch": batch}
            for work, action in (
                ("decode", partial(way.decode, files[:batch])),
                ("encode", partial(way.encode, pictures[:batch])),
            ):
                yield {**row, "work": work, "ms": median_ms(action, device, seconds) / batch}

        def pair(way: Coder, given: list[bytes] = files[:2], made: torch.Tensor = pictures[0]) -> None:
            way.decode(given)
            way.encode([made])

        for name, way in ways.items():
            if name != "libjpeg":  # its two pictures are decoded side by side, as handlers do
                row = {"size": f"{size[0]}x{size[1]}", "way": name, "batch": 1, "work": "pair"}
                yield {**row, "ms": median_ms(partial(pair, way), device, seconds)}


def decoded(gpu: GpuJpeg) -> Iterator[dict[str, Any]]:
    """How far nvJPEG's pictures are from libjpeg's, in grey levels, and both from the originals, in dB."""
    sources = list(islice(photographs(COMPARED), len(PHOTOGRAPHS)))
    for quality, subsampling in product(QUALITIES, ("4:2:0", "4:2:2", "4:4:4")):
        files = [by_pillow(source, quality, subsampling) for source in sources]
        ours = [to_host(picture) for picture in Nvjpeg(gpu).decode(files)]
        theirs = [decode_image(file, max_pixels=LIMIT) for file in files]
        differences = [np.abs(one.astype(int) - other) for one, other in zip(ours, theirs, strict=True)]
        yield {
            "quality": quality,
            "subsampling": subsampling,
            "mean": float(np.mean(differences)),
            "max": int(np.max(differences)),
            "psnr": mean_psnr(ours, theirs),
            "nvjpeg_psnr": mean_psnr(ours, sources),
            "libjpeg_psnr": mean_psnr(theirs, sources),
        }


def encoded(device: torch.device, gpu: GpuJpeg | None) -> Iterator[dict[str, Any]]:
    """Bytes and PSNR of each encoder at each quality, and at that where files are no larger than libjpeg's 4:2:0."""
    sources = list(islice(photographs(COMPARED), len(PHOTOGRAPHS)))
    frames = [to_device(source, device) for source in sources]
    encoders: dict[str, Callable[[int], list[bytes]]] = {
        f"libjpeg {subsampling}": lambda quality, subsampling=subsampling: [  # type: ignore[misc]
            by_pillow(source, quality, subsampling) for source in sources
        ]
        for subsampling in ("4:2:0", "4:4:4")
    }
    if gpu is not None:
        encoders["nvjpeg 4:4:4"] = partial(gpu.encode, frames)
    for quality in sorted({*QUALITIES, DEFAULT_QUALITY}, reverse=True):
        for name, encode in encoders.items():
            files = encode(quality)
            yield {"encoder": name, "asked": quality, "quality": quality, **judged(files, sources)}
        limit = sum(map(len, encoders["libjpeg 4:2:0"](quality)))
        for name, encode in encoders.items():
            if name != "libjpeg 4:2:0":
                fitting = finest(encode, limit)
                yield {"encoder": name, "asked": quality, "quality": fitting, **judged(encode(fitting), sources)}


def finest(encode: Callable[[int], list[bytes]], limit: int) -> int:
    """The highest quality whose files take at most `limit` bytes in all; 1 if there is none."""
    low, high = 1, 100
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if sum(map(len, encode(middle))) <= limit else (low, middle - 1)
    return low


def judged(files: list[bytes], sources: list[Frame]) -> dict[str, Any]:
    with Image.open(io.BytesIO(files[0])) as image:
        tables = [sum(table) for table in image.quantization.values()]  # type: ignore[attr-defined]
    return {
        "bytes": sum(map(len, files)) / len(files),
        "psnr": mean_psnr([decode_image(file, max_pixels=LIMIT) for file in files], sources),
        "table_sums": tables,
    }


def mean_psnr(frames: list[Frame], wanted: list[Frame]) -> float:
    return float(np.mean([psnr(one, other) for one, other in zip(frames, wanted, strict=True)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, required=True, help="path of the results, without a suffix")
    parser.add_argument(
        "--seconds",
        type=float,
        default=0.3,
        help="seconds for which each measurement is repeated (default: %(default)s)",
    )
    chosen = parser.parse_args()
    torch.set_num_threads(1)  # else every copy on the CPU waits for all of its cores
    device = torch.device(chosen.device)
    results: dict[str, Any] = {
        "machine": machine.describe(), "device": str(device), "threads": THREADS,
        "quality": QUALITIES[0], "compared": f"{COMPARED[0]}x{COMPARED[1]}", "photographs": PHOTOGRAPHS,
    }  # fmt: skip
    gpu = None
    try:
        gpu = GpuJpeg(device)
    except Unavailable as reason:
        results["unavailable"] = str(reason)
        print(reason)
    with coders(device, gpu) as ways:
        results["times"] = []
        for row in times(ways, device, chosen.seconds):
            results["times"].append(row)
            print(json.dumps(row), flush=True)
    results["decoded"] = [] if gpu is None else list(decoded(gpu))
    results["encoded"] = list(encoded(device, gpu))
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    write_report(chosen.out)


if __name__ == "__main__":
    exit_when_told_to()
    main()
