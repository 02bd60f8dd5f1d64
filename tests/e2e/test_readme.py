"""The examples of the README and of docs/http-api.md do what is said of them, pasted but for the server's place."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import media
from server import Server
from server.settings import PROJECT

PAGES = [(PROJECT / name).read_text() for name in ("README.md", "docs/http-api.md")]
SHELL = re.findall(r"```sh\n(.*?)```", "".join(PAGES), re.DOTALL)
PYTHON = re.findall(r"```python\n(.*?)```", PAGES[1], re.DOTALL)


@pytest.fixture(scope="module")
def demo(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What lies in run/demo once `make demo` has drawn its clip and all examples have run."""
    root = tmp_path_factory.mktemp("root")
    (root / "run" / "demo").mkdir(parents=True)
    (root / "run" / "server").symlink_to(server.folder)
    drawing = [sys.executable, "-m", "eden_client.cli.demo_clip", "--stills", str(root / "run" / "demo" / "clip.mp4")]
    subprocess.run(drawing, cwd=PROJECT, check=True, capture_output=True, timeout=60)
    lines = "\n".join(block for block in SHELL if "TOKEN=" in block or "curl" in block)
    assert len(re.findall("^curl ", lines, re.MULTILINE)) == 7
    lines = lines.replace("http://127.0.0.1:8080", server.url).replace(".venv/bin/python", sys.executable)
    subprocess.run(["bash", "-euc", lines], cwd=root, check=True, capture_output=True, timeout=240)
    for example in PYTHON:
        script = example.replace("http://127.0.0.1:8080", server.url)
        subprocess.run([sys.executable, "-c", script], cwd=root, check=True, capture_output=True, timeout=240)
    return root / "run" / "demo"


def test_pictures(demo: Path) -> None:
    for name, magic in (("between.png", b"\x89PNG"), ("between.jpg", b"\xff\xd8")):
        data = (demo / name).read_bytes()
        assert data.startswith(magic)
        assert media.decode_image(data, max_pixels=10**6).shape == (256, 448, 3)


def test_a_video_at_twice_the_rate(demo: Path) -> None:
    with media.open_video((demo / "smooth.mp4").read_bytes()) as video:
        assert video.rate == Fraction(24)
        assert sum(1 for _ in video.frames()) == 47


def test_an_array(demo: Path) -> None:
    assert np.load(demo / "between.npy").shape == (4, 256, 448, 3)


def test_planes(demo: Path) -> None:
    assert np.load(demo / "planes.npy").shape == (4, 384, 448)


def test_the_two_halves(demo: Path) -> None:
    assert (demo / "ticket").stat().st_size < 1000  # "a few hundred bytes"
    parts = (demo / "frames.multipart").read_bytes()
    assert parts.count(b"--eden-frame\r\nContent-Type: image/png") == 4
    assert parts.endswith(b"--eden-frame--\r\n")


def test_shared_memory_regions(demo: Path) -> None:
    expected = np.load(demo / "between.npy")
    assert np.array_equal(np.load(demo / "by-region.npy"), expected)
    assert (demo / "between.rgb").read_bytes() == expected.tobytes()
    assert json.loads((demo / "written.json").read_text())["shape"] == [4, 256, 448, 3]
