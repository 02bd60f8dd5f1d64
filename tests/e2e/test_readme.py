"""The examples of the README, of HTTP and of films do what is said of them, pasted but for the server's place."""

from __future__ import annotations

import json
import os
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

README, HTTP, FILMS = ((PROJECT / name).read_text() for name in ("README.md", "docs/http-api.md", "docs/films.md"))
SHELL = re.findall(r"```sh\n(.*?)```", README + HTTP + FILMS, re.DOTALL)
PYTHON = re.findall(r"```python\n(.*?)```", HTTP, re.DOTALL)
(CLIENT,) = re.findall(r"```python\n(.*?)```", FILMS, re.DOTALL)


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


def _films() -> dict[str, str]:
    """The commands that make films, by what they are called."""
    lines = "\n".join(SHELL).replace(".venv/bin/eden-interpolate", ".venv/bin/python -m eden_client")
    films = {line.partition("#")[0].strip() for line in lines.splitlines() if "-m eden_client " in line}
    return {re.findall(r"run/demo/(\w+)\.mp4", film)[1]: film for film in films}


@pytest.mark.parametrize(
    ("name", "rate", "count", "more"),
    [("film", 24, 47, ""), ("film60", 60, 40, " --duration 0.6"), ("batch", 24, 47, "")],  # 0.6 s: 8 frames of 24
)
def test_films(demo: Path, server: Server, name: str, rate: int, count: int, more: str) -> None:
    place = f"{sys.executable} -m eden_client --server {server.url} --key-file run/server/key_file.json"
    film = _films()[name].replace(".venv/bin/python -m eden_client", place) + more
    subprocess.run(["bash", "-euc", film], cwd=demo.parents[1], env=_here(), check=True)
    with media.open_video((demo / f"{name}.mp4").read_bytes()) as video:
        assert video.rate == Fraction(rate)
        assert sum(1 for _ in video.frames()) == count


def test_no_film_is_left_out() -> None:
    assert _films().keys() == {"film", "film60", "batch"}


def test_the_client_in_python(demo: Path, server: Server) -> None:
    frames = "import numpy as np\nframes = list(np.load('run/demo/frames.npy'))\nfirst, second = frames[:2]\n"
    told = "\nprint(between.shape, between.dtype)"
    script = frames + CLIENT.replace("http://127.0.0.1:8080", server.url) + told
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=demo.parents[1], env=_here(), check=True, capture_output=True, text=True
    )
    assert done.stdout == "(256, 448, 3) uint8\n"


def _here() -> dict[str, str]:
    """Where the command is this folder's, whatever is installed."""
    return os.environ | {"PYTHONPATH": str(PROJECT)}
