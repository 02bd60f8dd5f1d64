"""Measures what is lost between a film and its result, where frames travel as 4:2:0 planes and where as RGB.

    python -m bench.film.fidelity      # the demo clip, with the demo weights in this process, on the CPU

Some frames of the clip are left out and drawn anew, and those drawn are compared with those left out.

Writes OUT.json and a table, OUT.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import av
import numpy as np
import torch

import eden
from bench import machine
from bench.film.alone import Silent
from bench.strategies import film_frames
from eden_client.api.traffic import Traffic
from eden_client.api.yuv import YuvFormat
from eden_client.film.order import Order
from eden_client.film.run import interpolate_film
from media import Frame
from media.signals import exit_when_told_to
from media.video_reader import SCALING

WEIGHTS = Path("weights/demo")


class InProcess:
    """A client that draws frames in this process. `takes_planes`: whether they travel as planes."""

    seed, window, on_trouble, trace = 0, 1, None, None

    def __init__(self, takes_planes: bool) -> None:
        self.takes_planes, self.traffic = takes_planes, Traffic()
        self._encoder, self._decoder = eden.Encoder.load(WEIGHTS), eden.DitDecoder.load(WEIGHTS)

    def between(self, frames: Sequence[Frame], yuv: YuvFormat | None = None) -> Iterator[Frame]:
        """The frames between, as a server draws them: RGB [H, W, 3], or planes with `yuv`."""
        clip = torch.from_numpy(np.stack(frames))
        if yuv is None:
            tokens = self._encoder.encode(clip.permute(0, 3, 1, 2))
            (made,) = self._decoder.interpolate([tokens], seeds=[0], as_uint8=True)
            yield from made.permute(0, 2, 3, 1).numpy()
            return
        format = eden.YuvFormat(yuv.matrix, yuv.range)
        tokens = self._encoder.encode(eden.Planes(clip, format))
        (made,) = self._decoder.interpolate([tokens], seeds=[0], as_uint8=True, yuv=format)
        yield from made.numpy()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.film.fidelity", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="128x224", metavar="HxW", help="frame size in pixels (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=33, help="frames of the clip (default: 33)")
    out = Path("bench/results/film-fidelity")
    parser.add_argument(
        "--out", type=Path, default=out, help="path of the results, without a suffix (default: %(default)s)"
    )
    args = parser.parse_args()
    height, width = map(int, args.size.split("x"))
    drawn = list(film_frames(args.frames, height, width))
    rows = [_row(drawn, times, planes) for times in (2, 4) for planes in (True, False)]
    found = {"machine": machine.describe(), "size": args.size, "frames": args.frames, "rows": rows}
    args.out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    args.out.with_suffix(".md").write_text(markdown(found), encoding="utf-8")
    print(markdown(found))


def markdown(found: dict[str, Any]) -> str:
    """The report: a table of PSNR."""
    lines = [
        f"The demo clip, {found['frames']} frames of {found['size']}, of which those to be made are left out; 4:2:0 of "
        f"BT.709 in limited range, lossless; {WEIGHTS} on {found['machine']['cpu']}, {found['machine']['date']}. Means "
        "of the frames' PSNR, in dB, against those that were left out: as RGB, and of the planes.",
        "",
        "| frames made of one | frames travel as | RGB | luma | chroma |",
        "|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        figures = " | ".join(f"{row[name]:.2f}" for name in ("rgb", "luma", "chroma"))
        lines.append(f"| {row['times']} | {row['as']} | {figures} |")
    return "\n".join(lines) + "\n"


def _row(drawn: Sequence[Frame], times: int, planes: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lossless(drawn, folder / "whole.mkv")
        lossless(drawn[::times], folder / "in.mkv")
        order = Order(str(folder / "in.mkv"), str(folder / "out.mkv"), times, codec="ffv1", cuts=None, duplicates="off")
        interpolate_film(order, InProcess(planes), Silent())  # type: ignore[arg-type]  # as much of a client as it needs
        pairs = list(zip(_decoded(folder / "out.mkv"), _decoded(folder / "whole.mkv"), drawn, strict=False))
    between = [each for number, each in enumerate(pairs) if number % times]
    return {
        "times": times,
        "as": "planes" if planes else "RGB",
        "rgb": _psnr((frame.to_ndarray(format="rgb24", interpolation=SCALING), truth) for frame, _, truth in between),
        "luma": _psnr((_planes(frame)[0], _planes(truth)[0]) for frame, truth, _ in between),
        "chroma": _psnr((_planes(frame)[1], _planes(truth)[1]) for frame, truth, _ in between),
    }


def lossless(frames: Sequence[Frame], path: Path) -> None:
    """Write frames, RGB [H, W, 3], as a film of 4:2:0 in limited range of BT.709, encoded without loss."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=24)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.colorspace = stream.codec_context.color_range = 1
        converter = YuvFormat("bt709", "limited")
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(converter.from_rgb(frame), format="yuv420p")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def _decoded(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def _planes(frame: av.VideoFrame) -> tuple[Frame, Frame]:
    planes: Frame = frame.to_ndarray()  # type: ignore[assignment]  # of 8 bits
    return planes[: frame.height], planes[frame.height :]


def _psnr(pairs: Iterator[tuple[np.ndarray, np.ndarray]]) -> float:
    """Mean over the frames, in dB."""
    errors = [np.mean((first.astype(float) - second) ** 2) for first, second in pairs]
    return float(np.mean([10 * np.log10(255**2 / error) for error in errors]))


if __name__ == "__main__":
    exit_when_told_to()
    main()
