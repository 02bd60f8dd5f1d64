"""The lines of docs/page.md, pasted but for the service's place, do what is said of them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import av
import pytest

from web import __main__ as command
from web.settings import Limits

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[3] / "docs" / "page.md").read_text()
LINES = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL))


def test_its_examples(visitor, film, tmp_path):
    (tmp_path / "run" / "demo").mkdir(parents=True)
    shutil.copy(film, tmp_path / "run" / "demo" / "clip.mp4")
    lines = LINES.replace("http://127.0.0.1:8008", visitor.url)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "PATH": path}
    done = subprocess.run(
        ["bash", "-euo", "pipefail"], input=lines, cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    with av.open(tmp_path / "smooth.mp4") as made:
        assert sum(1 for _ in made.decode(video=0)) == 4 * 60 - 3
    (trial,) = visitor.get("/v1/videos").json()["data"]  # the other one is removed
    assert visitor.ended(trial["id"])["frames"] == 2 * 25 - 1
    assert done.stdout.count('"code":409') == 4, done.stdout  # what is completed already cannot be held up


def test_every_call_is_there(idle):
    described = idle.get("/openapi.json").json()["paths"]
    told = {
        (method.lower(), path)
        for methods, path in re.findall(r"^\| `(.*?) (/\S+)` \|", PAGE, re.MULTILINE)
        for method in re.findall(r"[A-Z]+", methods)
    }
    assert told == {(method, path) for path, item in described.items() for method in item if method != "parameters"}


def test_the_bounds_are_these():
    limits, default = Limits(), command._settings(command._parser().parse_args([]), [])
    assert default.limits == limits
    told = (
        f"{limits.uploads} uploads of {limits.upload_total_bytes >> 30} GiB in all, {limits.videos:,} videos of which"
    )
    assert f"{told} {limits.queue} wait" in PAGE.replace("\n  ", " ")
    assert (
        f"a body may pause {limits.receive_s:g} s, an answer {limits.send_s:g}; {limits.connections} connections"
        in PAGE
    )
    assert f"{limits.previews} files and {limits.preview_bytes >> 20} MiB at most" in PAGE
    assert f"keep busy ({limits.read_s:g} s)" in PAGE and limits.live == 4 and "Four may be open" in PAGE
