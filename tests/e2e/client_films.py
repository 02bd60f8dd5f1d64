"""Small real films for the client's tests, made with PyAV, and the command as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from eden_client import EdenClient
from eden_client.cli.main import main
from eden_client.film.write.frame_converter import SCALING
from tests import clip
from tests.e2e.held_client import Hold

CLIP = [frame[::2, ::2].copy() for frame in clip.CLIP]
"""24 frames of 64x112 with real motion."""


QUICK = {"aac": {"aac_coder": "fast"}}
"""FFmpeg's options of encoders that take half as long with them."""


def long_clip(count: int) -> list[np.ndarray]:
    """The clip forwards and backwards, as long as wanted."""
    back_and_forth = CLIP + CLIP[-2:0:-1]
    return [back_and_forth[i % len(back_and_forth)] for i in range(count)]


def write_film(
    path: Path,
    frames: Sequence[np.ndarray],
    rate: Fraction = Fraction(24),
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    *,
    format: str | None = None,
    times: Sequence[Fraction] | None = None,
    sound: Sequence[str] = (),
    beep_at: float | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """A film of uint8 or uint16 frames [H, W, 3 or 4]; `sound`: codecs of as many sound tracks."""
    with av.open(path, "w", format=format) as container:
        video = container.add_stream(codec, rate=rate, options=options or ({"crf": "10"} if "264" in codec else {}))
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt = pixel_format
        tick = Fraction(1, 90_000) if times else 1 / rate
        video.codec_context.time_base = tick
        tracks = [container.add_stream(each, rate=48_000, options=QUICK.get(each)) for each in sound]
        seconds = float(times[-1] + 1 / rate) if times else float(len(frames) / rate)
        for index, frame in enumerate(frames):
            layout = {
                2: "rgb48le" if frame.shape[2] == 3 else "rgba64le",
                1: "rgb24" if frame.shape[2] == 3 else "rgba",
            }
            picture = av.VideoFrame.from_ndarray(frame, format=layout[frame.itemsize])
            if picture.format.name != pixel_format:
                picture = picture.reformat(format=pixel_format, interpolation=SCALING, threads=1)
            picture.pts = round(times[index] / tick) if times else index
            picture.time_base = tick
            container.mux(video.encode(picture))
        container.mux(video.encode())
        for track in tracks:
            for block in tone(seconds, beep_at):
                container.mux(track.encode(block))
            container.mux(track.encode())
    return path


def tone(seconds: float, beep_at: float | None):
    """Stereo sound at 48 kHz: a quiet hum, and from `beep_at` on for 0.2 s a loud beep."""
    time = np.arange(round(seconds * 48_000)) / 48_000
    wave = 0.01 * np.sin(2 * np.pi * 220 * time)
    if beep_at is not None:
        wave += 0.7 * np.sin(2 * np.pi * 1000 * time) * ((time >= beep_at) & (time < beep_at + 0.2))
    for start in range(0, len(wave), 960):
        part = wave[start : start + 960].astype(np.float32)
        block = av.AudioFrame.from_ndarray(np.stack([part, part]), format="fltp", layout="stereo")
        block.sample_rate, block.pts = 48_000, start
        yield block


@dataclass
class Seen:
    """What a file holds."""

    frames: list[np.ndarray]
    times: list[Fraction]
    rate: Fraction
    codec: str
    pixel_format: str
    kinds: list[str]


def look_at(path: Path, pixels: str = "rgb24") -> Seen:
    with av.open(path) as container:
        stream = container.streams.video[0]
        decoded = list(container.decode(stream))
        return Seen(
            [frame.to_ndarray(format=pixels, interpolation=SCALING, threads=1) for frame in decoded],
            [frame.pts * frame.time_base for frame in decoded],
            stream.average_rate,
            stream.codec_context.name,
            decoded[0].format.name,
            [each.type for each in container.streams],
        )


def first_white(frames: Sequence[np.ndarray]) -> int:
    """Where the white frame is that marks a moment. A cut may repeat it, and a codec may round either of the two."""
    return next(index for index, frame in enumerate(frames) if frame.mean() > 250)


def beep_start(path: Path, track: int = 0) -> float:
    """When the beep begins, in the file's time."""
    with av.open(path) as container:
        stream = container.streams.audio[track]
        for frame in container.decode(stream):
            samples = np.abs(frame.to_ndarray().astype(np.float32))
            if samples.dtype.kind == "f" and samples.max() > 1.5:
                samples /= 32768
            loud = np.flatnonzero(samples.reshape(len(samples), -1).max(0) > 0.2)
            if len(loud):
                return float(frame.pts * frame.time_base) + loud[0] / frame.sample_rate
    raise AssertionError("no beep")


def options_for(server) -> list[str]:
    return ["--server", server.url, "--management", server.management_url, "--key-file", str(server.tokens.path)]


def grpc_options(server) -> list[str]:
    key = ["--management", server.management_url, "--key-file", str(server.tokens.path)]
    return ["--grpc", "--server", f"127.0.0.1:{server.grpc_port}", *key]


def client_of(running, **options) -> EdenClient:
    """A client of a running server, with other options where they are given."""
    where = {"server": running.url, "management": running.management_url, "key_file": running.tokens.path}
    return EdenClient(**(where | options))


def run(server, source, target, *options: str) -> int:
    """The command in this process; its exit code."""
    return main([str(source), str(target), *options_for(server), *options])


def told(capsys) -> dict:
    """The JSON that the command printed last."""
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def start(server, source, target, *options: str, hold: Hold | None = None, **popen) -> subprocess.Popen:
    """The command as a process of its own, which Ctrl-C ends even where the tests run as a shell's background job."""
    module, environment = ("tests.e2e.held_command", {"HOLD": str(hold.path)}) if hold else ("eden_client", {})
    command = [sys.executable, "-m", module, str(source), str(target), *options_for(server), *options]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # such a job ignores it, and so would its children
    pipes = {"stderr": subprocess.PIPE, "text": True} | popen
    return subprocess.Popen(command, env=os.environ | environment, **pipes)
