"""A file is a file, whatever is in its name and in whatever encoding its tags are."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from eden_client.film.read.film_file import open_film_file
from eden_client.film.write.gif import write_gif
from media import encode_video, open_video
from tests.unit.client.film.sound_films import Joiner, Sound, chapters_of, hear, write_source

FRAMES = [np.full((32, 48, 3), level, np.uint8) for level in (0, 80, 160)]

STEMS = [
    "Alien:Romulus",
    "a:b:c",
    "-film",
    "--overwrite",
    "pipe:1",
    "concat:a|b",
    "http:||x",
    "file:x",
    "data:,x",
    "100%",
    "%06d",
    "a?b=1#2",
    "[1-9]*",
    "{a,b}",
    " blank ",
    "Größe\n",
    b"latin-\xe9".decode("utf-8", "surrogateescape"),
]


@pytest.mark.parametrize("stem", STEMS, ids=ascii)
def test_any_name_is_written_and_read(tmp_path, monkeypatch, stem):
    """Relative names, as a user types them: an absolute one begins with a slash and is never taken for a protocol."""
    monkeypatch.chdir(tmp_path)
    film = Path(f"{stem}.mp4")
    encode_video(FRAMES, Fraction(25), film)
    with open_video(film) as video:
        assert len(list(video.frames())) == 3
    encode_video(FRAMES, Fraction(25), str(film))
    with open_video(str(film)) as video:
        assert len(list(video.frames())) == 3
    folder = Path(f"{stem}.parts")
    folder.mkdir()
    joiner = Joiner(folder)
    source = write_source(Path(f"{stem}.mkv"), [Sound("aac")])
    assert joiner(source, folder / "film.mp4") == [] and hear(folder / "film.mp4").seconds > 0.9
    joint, segments = joiner.parts(source, ".mkv")
    assert write_gif(segments, joint.video_format, folder / "film.gif") == []
    with open_film_file(folder / "film.gif") as gif:
        assert len(list(gif.pictures())) == 10
    assert {path.name for path in tmp_path.iterdir()} == {f"{stem}.mp4", f"{stem}.mkv", f"{stem}.parts"}


@pytest.mark.parametrize("stem", ["shot%d", "shot%02d", "{shot,film}", "shot?", "shot*"])
@pytest.mark.parametrize("ending", [".png", ".gif"])
def test_an_animation_is_one_file_and_no_pattern(tmp_path, monkeypatch, stem, ending):
    monkeypatch.chdir(tmp_path)
    pictures = [Image.fromarray(frame) for frame in FRAMES]
    pictures[0].save(f"{stem}{ending}", save_all=True, append_images=pictures[1:], duration=100)
    for number in range(5):
        pictures[0].save(f"shot{number}{ending}")
    with open_film_file(Path(f"{stem}{ending}")) as film:
        assert len(list(film.pictures())) == 3


@pytest.mark.parametrize("ending", [".mkv", ".mp4", ".mov"])
def test_tags_that_are_not_utf_8_are_replaced(tmp_path, ending):
    source = write_source(tmp_path / f"in{ending}", [Sound("aac")], tags={"title": "M_uenchen"}, chapters=[(0, 900)])
    data = source.read_bytes()
    for old, new in ((b"M_uenchen", b"M\xfcnchen__"), (b"Part 0", b"P\xe4rt 0")):
        assert old in data
        data = data.replace(old, new)
    source.write_bytes(data)
    with open_video(source.read_bytes()) as video:  # as the server reads it
        assert len(list(video.frames())) == 10
    assert Joiner(tmp_path)(source, tmp_path / f"out{ending}") == []
    with av.open(tmp_path / f"out{ending}") as film:
        assert film.metadata["title"] == "M\N{REPLACEMENT CHARACTER}nchen__"
    (chapter,) = chapters_of(tmp_path / f"out{ending}")
    assert chapter[2] == "P\N{REPLACEMENT CHARACTER}rt 0"
