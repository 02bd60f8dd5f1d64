"""The client's example against a real server."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from examples import client
from server import Server
from tests.e2e.client_films import client_of
from tests.e2e.servers import assert_same, moving_frames


def test_pictures_become_those_between(both: Server, tmp_path, capsys) -> None:
    frames = moving_frames(3, 64, 112)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    told = "--server", both.url, "--key-file", str(both.tokens.path)
    pictures = [str(tmp_path / f"{number}.png") for number in range(3)]
    assert client.main([*told, str(tmp_path / "between"), *pictures]) == 0
    with client_of(both) as eden:
        wanted = list(eden.stream(frames))
    made = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "between").iterdir())]
    assert len(made) == 2
    assert_same(made, wanted)


def test_a_server_that_is_not_there_is_one_line(tmp_path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(2):
        Image.new("RGB", (64, 48)).save(tmp_path / f"{number}.png")
    pictures = [str(tmp_path / f"{number}.png") for number in range(2)]
    assert client.main(["--server", "http://127.0.0.1:9", str(tmp_path / "between"), *pictures]) == 1
    assert len(capsys.readouterr().out.splitlines()) == 1
