"""Measures the work in one process, without a server: `python -m bench.capacity.engine CHECKPOINT ...` prints JSON.

With two GPUs, the encoder runs on the first and the rest on the second, at the same time; else one after the other.
"""

from __future__ import annotations

import argparse
import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import media
from eden import DitDecoder, Encoder, EncoderOutput
from loadtest._film import Scene
from media.images import ImageFormat
from media.signals import exit_when_told_to

AHEAD = 2
"""The most batches by which the encoder may be ahead of the decoder."""


@dataclass(frozen=True)
class Work:
    """Batches of clips of one kind, used in turn."""

    clip: int
    format: ImageFormat
    batches: list[list[np.ndarray]]
    """frames [K, H, W, 3]"""
    sent: list[list[list[bytes]]]
    """the same as pictures: batch, clip, frame"""

    @classmethod
    def draw(cls, size: tuple[int, int], clip: int, format: ImageFormat, clips: int) -> Work:
        """Four batches of `clips` clips each, all with different frames."""
        scene = Scene(0, *size)
        frames = np.stack([scene.frame(i) for i in range(4 * clips + clip)])
        starts = [list(range(batch * clips, (batch + 1) * clips)) for batch in range(4)]
        batches = [[frames[start : start + clip] for start in each] for each in starts]
        pictures = [media.encode_image(frame, format) for frame in frames]
        sent = [[pictures[start : start + clip] for start in each] for each in starts]
        return cls(clip, format, batches, sent)

    @property
    def pairs(self) -> int:
        """Pairs in a batch."""
        return len(self.batches[0]) * (self.clip - 1)


class Engine:
    """Both halves of the model, and threads that decode and encode pictures."""

    def __init__(self, checkpoint: Path, precision: str) -> None:
        gpus = torch.cuda.device_count()
        devices = ("cuda:0", f"cuda:{min(1, gpus - 1)}") if gpus else ("cpu", "cpu")
        self.encoder = Encoder.load(checkpoint, devices[0], precision)
        self.decoder = DitDecoder.load(checkpoint, devices[1], precision)
        self.devices = tuple(torch.device(device) for device in devices)
        self._threads = ThreadPoolExecutor(8)

    def encode(self, clips: list[np.ndarray]) -> list[EncoderOutput]:
        """Encode clips; the tokens are on the decoder's device."""
        frames = [torch.from_numpy(clip).permute(0, 3, 1, 2) for clip in clips]
        outputs = [output.to(self.devices[1]) for output in self.encoder.encode_clips(frames)]
        self._wait()
        return outputs

    def interpolate(self, outputs: list[EncoderOutput]) -> list[np.ndarray]:
        """The frames between of each clip, [K-1, H, W, 3] uint8."""
        drawn = self.decoder.interpolate(outputs, seeds=list(range(len(outputs))), as_uint8=True)
        return [frames.permute(0, 2, 3, 1).cpu().numpy() for frames in drawn]

    def read(self, clips: list[list[bytes]]) -> list[np.ndarray]:
        """Decode pictures to frames, in several threads."""
        flat = [picture for clip in clips for picture in clip]
        frames = list(self._threads.map(lambda picture: media.decode_image(picture, max_pixels=1 << 30), flat))
        length = len(clips[0])
        return [np.stack(frames[at : at + length]) for at in range(0, len(frames), length)]

    def write(self, between: list[np.ndarray], format: ImageFormat) -> None:
        """Encode frames as pictures, in several threads."""
        flat = [frame for frames in between for frame in frames]
        list(self._threads.map(lambda frame: media.encode_image(frame, format), flat))

    def _wait(self) -> None:
        for device in self.devices:
            if device.type == "cuda":
                torch.cuda.synchronize(device)


def pairs_a_second(engine: Engine, work: Work, seconds: float, pictures: bool) -> float:
    """The throughput over at least `seconds`, after two batches to warm up."""

    def first_half(number: int) -> list[EncoderOutput]:
        batch = engine.read(work.sent[number % 4]) if pictures else work.batches[number % 4]
        return engine.encode(batch)

    def second_half(outputs: list[EncoderOutput]) -> None:
        between = engine.interpolate(outputs)
        if pictures:
            engine.write(between, work.format)

    side_by_side = engine.devices[0] != engine.devices[1]
    done, began = -2, time.perf_counter()
    for outputs in _ahead(first_half) if side_by_side else map(first_half, _forever()):
        second_half(outputs)
        done += 1
        if done == 0:
            began = time.perf_counter()
        elif done > 0 and time.perf_counter() - began >= seconds:
            break
    return done * work.pairs / (time.perf_counter() - began)


def _forever() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1


def _ahead(make: Callable[[int], Any]) -> Iterator[Any]:
    """The results of `make` for 0, 1, 2, ..., computed ahead in a thread."""
    made: queue.Queue[Any] = queue.Queue(AHEAD)
    stop = threading.Event()

    def run() -> None:
        for number in _forever():
            item = make(number)
            while not stop.is_set():
                try:
                    made.put(item, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if stop.is_set():
                return

    thread = threading.Thread(target=run)
    thread.start()
    try:
        while True:
            yield made.get()
    finally:
        stop.set()
        thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.capacity.engine", description=__doc__)
    add = parser.add_argument
    add("checkpoint", type=Path, help="folder or file of the weights")
    add("--precision", default="fp32", help="fp32, tf32 or bf16 (default: %(default)s)")
    add("--seconds", type=float, default=10.0, help="seconds for which each work is repeated (default: %(default)s)")
    add("--work", action="append", required=True, help="HEIGHTxWIDTH,K,FORMAT,CLIPS per batch; may be repeated")
    args = parser.parse_args()
    engine = Engine(args.checkpoint, args.precision)
    for text in args.work:
        size, clip, format, clips = text.split(",")
        height, width = (int(side) for side in size.split("x"))
        work = Work.draw((height, width), int(clip), format, int(clips))
        said = {"height": height, "width": width, "clip": int(clip), "format": format, "clips_a_batch": int(clips)}
        said["engine"] = pairs_a_second(engine, work, args.seconds, pictures=False)
        said["with_pictures"] = pairs_a_second(engine, work, args.seconds, pictures=True)
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    exit_when_told_to()
    main()
