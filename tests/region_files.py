"""Regions as a caller without our client makes them, what a request says of them, and what is wrong with either."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from media.region_format import HEADER, region_header, region_name
from tests.e2e.servers import moving_frames

FRAMES = moving_frames(4, 32, 48)


@dataclass(frozen=True)
class RegionFile:
    """A region that holds frames, with room for those between behind them, and a few bytes more."""

    path: Path
    key: bytes
    frames: np.ndarray

    @classmethod
    def write(cls, folder: Path, frames: np.ndarray, spare: int = 100) -> RegionFile:
        made = cls(folder / region_name(os.getuid(), secrets.token_hex(16)), secrets.token_bytes(32), frames)
        head = region_header(made.key).ljust(HEADER, b"\0")
        room = b"\xee" * (frames[1:].nbytes + spare)
        made.path.write_bytes(head + frames.tobytes() + room)
        made.path.chmod(0o600)
        return made

    @property
    def answer(self) -> int:
        """Where the frames between go."""
        return HEADER + self.frames.nbytes

    @property
    def between(self) -> np.ndarray:
        """What lies there."""
        shape = (len(self.frames) - 1, *self.frames.shape[1:])
        count = int(np.prod(shape))
        return np.frombuffer(self.path.read_bytes(), np.uint8, count, self.answer).reshape(shape)

    def described(self) -> dict[str, Any]:
        place = {"file": self.path.name, "key": self.key.hex()}
        return {
            "layout": "rgb24",
            "dtype": "uint8",
            "shape": list(self.frames.shape),
            "frames": place | {"offset": HEADER},
            "answer": place | {"offset": self.answer},
        }

    def body(self, **changes: Any) -> bytes:
        """A request's body; `changes` by dotted name, with __ for the dot; `...` leaves one out."""
        told = self.described()
        for name, value in changes.items():
            *parents, last = name.split("__")
            section = told
            for parent in parents:
                section = section[parent]
            if value is ...:
                del section[last]
            else:
                section[last] = value
        return json.dumps(told).encode()


HUGE = 1 << 62
DESCRIBED = {
    "no JSON": (b"frames", "malformed"),
    "not UTF-8": (b'{"layout": "\xff"}', "description"),
    "a list": (b"[]", "Expected object"),
    "nothing": (b"null", "Expected object"),
    "too long": (b" " * 5000, "at most 4096"),
    "deep": (b'{"layout":"rgb24","shape":' + b"[" * 4000, "shape"),
    "deep before the layout": (b'{"shape":' + b"[" * 4000, "description"),
    "unknown": ({"mode": 1}, "unknown field mode"),
    "unknown of a place": ({"frames__link": 1}, "unknown field link"),
    "another layout": ({"layout": "yuv420p"}, "layout"),
    "another dtype": ({"dtype": "float32"}, "dtype"),
    "no shape": ({"shape": ...}, "shape"),
    "three axes": ({"shape": [2, 32, 48]}, "shape"),
    "four channels": ({"shape": [2, 32, 48, 4]}, "shape"),
    "a negative side": ({"shape": [2, -32, 48, 3]}, "shape"),
    "no frame": ({"shape": [0, 32, 48, 3]}, "shape"),
    "half a side": ({"shape": [2, 32.5, 48, 3]}, "shape"),
    "text for a side": ({"shape": [2, "32", 48, 3]}, "shape"),
    "a side beyond all": ({"shape": [HUGE, HUGE, HUGE, 3]}, "shape"),
    "sides whose product is beyond all": ({"shape": [1 << 31, 1 << 31, 1 << 31, 3]}, "too few"),
    "more frames than there are": ({"shape": [99, 32, 48, 3]}, "too few"),
    "one frame": ({"shape": [1, 32, 48, 3]}, "at least two"),
    "too small a frame": ({"shape": [2, 8, 8, 3], "answer": ...}, "at least 16"),
    "a negative offset": ({"frames__offset": -1}, "offset"),
    "an offset in the header": ({"answer__offset": HEADER - 1}, "offset"),
    "an offset beyond the end": ({"answer__offset": 1 << 40}, "too few"),
    "an offset beyond all": ({"frames__offset": 1 << 63}, "offset"),
    "an offset beyond a float": (b'{"layout":"rgb24","dtype":"uint8","shape":[1e999,1,1,3]}', "shape"),
    "an answer over the frames": ({"answer__offset": HEADER}, "overwrite"),
    "an answer over the last byte": ({"answer__offset": HEADER + FRAMES.nbytes - 1}, "overwrite"),
    "a path": ({"frames__file": "../secret"}, "no name of a region"),
    "an absolute path": ({"frames__file": "/etc/passwd"}, "no name of a region"),
    "a path before the name": ({"frames__file": "x/eden-pixels-0-" + 32 * "0" + ".region"}, "no name of a region"),
    "a zero byte": ({"answer__file": "eden-pixels-0-" + 32 * "0" + ".region\0"}, "no name of a region"),
    "a line end": ({"answer__file": "eden-pixels-0-" + 32 * "0" + ".region\n"}, "no name of a region"),
    "RGB's shape as planes": ({"layout": "i420"}, "shape"),
    "planes of no whole height": ({"layout": "i420", "shape": [2, 46, 48]}, "H*3/2"),
    "planes of an odd width": ({"layout": "i420", "shape": [2, 48, 47]}, "even H and W"),
    "more planes than there are": ({"layout": "i420", "shape": [1 << 31, 48, 48]}, "too few"),
    "planes whose product is beyond all": ({"layout": "i420", "shape": [1 << 31, 3 << 29, 1 << 31]}, "too few"),
    "too small planes": ({"layout": "i420", "shape": [2, 12, 8], "answer": ...}, "at least 16"),
    "an answer over planes": (
        {"layout": "i420", "shape": [4, 48, 48], "answer__offset": HEADER + 4 * 48 * 48 - 1},
        "overwrite",
    ),
    "planes of another matrix": ({"layout": "i420", "shape": [4, 48, 48], "matrix": "rgb"}, "matrix"),
    "planes of another range": ({"layout": "i420", "shape": [4, 48, 48], "range": ["full"]}, "range"),
    "RGB with a matrix": ({"matrix": "bt709"}, "unknown field matrix"),
    "other digits": ({"frames__file": "eden-pixels-٣-" + 32 * "0" + ".region"}, "no name of a region"),
    "a hand-off's segment": ({"frames__file": "eden-handoff-" + 32 * "0" + ".0.segment"}, "no name of a region"),
    "a number for a name": ({"frames__file": 7}, "file"),
    "another key": ({"frames__key": 64 * "0"}, "the key that is named"),
    "a short key": ({"frames__key": "00"}, "64 hexadecimal digits"),
    "another key of the answer": ({"answer__key": 64 * "0"}, "the key that is named"),
}
"""What FRAMES' description may not say: a body or changes of it, and a word of the refusal, which is a 400."""


def a_link(path: Path, beside: Path) -> None:
    path.rename(beside)
    path.symlink_to(beside.name)


def a_second_name(path: Path, beside: Path) -> None:
    os.link(path, beside)


def a_pipe(path: Path, beside: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def a_folder(path: Path, beside: Path) -> None:
    path.unlink()
    path.mkdir(mode=0o700)


def cut_short(path: Path, beside: Path) -> None:
    os.truncate(path, path.stat().st_size - 101)


def empty(path: Path, beside: Path) -> None:
    os.truncate(path, 0)


def open_to_others(path: Path, beside: Path) -> None:
    path.chmod(0o644)


FILES = {
    a_link: "is a link",
    a_second_name: "2 names",
    a_pipe: "no plain file",
    a_folder: "no plain file",
    cut_short: "too few",
    empty: "the key that is named",
    open_to_others: "mode is 644",
}
"""What may not have become of a region, and a word of the refusal, which is a 400."""
