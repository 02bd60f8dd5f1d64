"""Every codec of sound that can be written here, every layout and rate, into every kind of film that is offered."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import av
import pytest
from av.codec.codec import UnknownCodecError

from eden_client.film.join.joining import join, rehearse
from eden_client.film.write.encoding import CONTAINERS
from tests.unit.client.film.sound_films import Heard, Joiner, Sound, hear, write_source

pytestmark = pytest.mark.slow

ENDINGS = [".mp4", ".mov", ".mkv", ".webm"]
SECONDS = 0.15
SOURCES = [".mkv", ".mov", ".wmv", ".avi", ".ts", ".nut", ".flv"]
"""Kinds of films to look for one that holds a codec."""

NO_FILM = {
    "adpcm_adx", "adpcm_argo", "adpcm_ima_alp", "adpcm_ima_amv", "adpcm_ima_apm", "adpcm_ima_ssi", "adpcm_ima_ws",
    "anull", "aptx", "aptx_hd", "comfortnoise", "g723_1", "libopencore_amrnb", "pcm_bluray", "pcm_dvd", "pcm_s24daud",
    "pcm_vidc", "roq_dpcm", "sbc", "tta", "vorbis", "nellymoser", "adpcm_ima_wav", "g726", "g726le",
}  # fmt: skip
"""Encoders whose sound no film holds, or whose shortest sound is longer than that of this test."""


def encodes_sound(name: str) -> bool:
    try:
        return av.Codec(name, "w").type == "audio"
    except UnknownCodecError:
        return False


ENCODERS = [name for name in sorted(av.codecs_available) if name not in NO_FILM and encodes_sound(name)]


@pytest.fixture(scope="module")
def joined(tmp_path_factory):
    return Joiner(tmp_path_factory.mktemp("pictures"))


@cache
def written(folder: Path, codec: str) -> tuple[Path, Heard]:
    """A film with this codec, and what is heard in it."""
    rate = min(av.Codec(codec, "w").audio_rates or [48_000], key=lambda each: abs(each - 48_000))
    for layout in ("stereo", "mono"):
        for ending in SOURCES:
            path = folder / f"{codec}-{layout}{ending}"
            try:
                write_source(path, [Sound(codec, rate, layout, seconds=SECONDS)])
                return path, hear(path)
            except (av.FFmpegError, ValueError, IndexError):
                continue
    raise AssertionError(f"nothing holds {codec}")


def check(joined: Joiner, source: Path, before: Heard, folder: Path, ending: str) -> None:
    """The film has all its sound; and what became of that was told before."""
    joint, segments = joined.parts(source, ending)
    plan, notes = rehearse(segments, joint, folder / f"trial{ending}")
    assert join(segments, joint, folder / f"out{ending}", plan) == []
    after = hear(folder / f"out{ending}")
    encoder = {".mp4": "aac", ".mov": "aac"}.get(ending, "libopus")
    assert all(note.startswith(f"sound track 1 is encoded anew as {encoder}: ") for note in notes), notes
    assert len(notes) == (after.codec != before.codec and {after.codec, before.codec} != {"mp2", "mp3"})
    most_lost = 0.002 if notes else 0.0005
    assert before.seconds - most_lost <= after.seconds <= before.seconds + 2048 / min(before.rate, after.rate)


@pytest.mark.parametrize("codec", ENCODERS)
@pytest.mark.parametrize("ending", ENDINGS)
def test_every_codec(joined, tmp_path, tmp_path_factory, codec, ending):
    source, before = written(tmp_path_factory.getbasetemp(), codec)
    check(joined, source, before, tmp_path, ending)


LAYOUTS = [
    "mono", "stereo", "2.1", "3.0", "3.0(back)", "3.1", "4.0", "quad", "quad(side)", "4.1", "5.0", "5.0(side)", "5.1",
    "5.1(side)", "6.0", "6.0(front)", "hexagonal", "6.1", "6.1(back)", "6.1(front)", "7.0", "7.0(front)", "7.1",
    "7.1(wide)", "7.1(wide-side)", "octagonal", "cube", "5.1.2", "5.1.4", "7.1.4", "22.2",
]  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(joined, tmp_path, layout):
    """Copied, and encoded anew by both encoders."""
    source = write_source(tmp_path / "in.mkv", [Sound("pcm_s16le", 8000, layout, seconds=SECONDS)])
    before = hear(source)
    for ending in (".mkv", ".mp4", ".webm"):
        check(joined, source, before, tmp_path, ending)


RATES = [4000, 7350, 8000, 11_025, 12_345, 16_000, 22_050, 24_000, 32_000, 37_800, 44_056, 44_100, 47_952, 48_001,
         64_000, 88_200, 96_000, 96_001, 128_000, 176_400, 192_000, 352_800, 384_000]  # fmt: skip


@pytest.mark.parametrize("rate", RATES)
def test_every_rate(joined, tmp_path, rate):
    source = write_source(tmp_path / "in.mkv", [Sound("pcm_s16le", rate, "mono", seconds=SECONDS)])
    before = hear(source)
    for ending in (".mkv", ".mp4", ".webm"):
        check(joined, source, before, tmp_path, ending)


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100, 48_000])
def test_the_last_packet_is_heard_where_the_source_does_not_say_how_long_it_is(joined, tmp_path, rate):
    """ALAC in Matroska: MP4's edit list would end before it, and a short film would be silent."""
    source = write_source(tmp_path / "in.mkv", [Sound("alac", rate, seconds=SECONDS)])
    for ending in (".mp4", ".mov"):
        assert joined(source, tmp_path / f"out{ending}") == []
        assert hear(tmp_path / f"out{ending}").seconds == hear(source).seconds == SECONDS


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_s24le", "pcm_f32le", "pcm_s32be", "pcm_f64le"])
def test_pcm_is_not_put_into_mp4_where_few_players_play_it(joined, tmp_path, codec):
    source = write_source(tmp_path / "in.mov", [Sound(codec, seconds=SECONDS)])
    for ending, expected in ((".mp4", "aac"), (".mov", codec)):
        joint, segments = joined.parts(source, ending)
        _, notes = rehearse(segments, joint, tmp_path / f"trial{ending}")
        why = f"few players play {codec} in mp4 (.mov and .mkv keep it)"
        assert notes == ([f"sound track 1 is encoded anew as aac: {why}"] if expected == "aac" else [])
        joined(source, tmp_path / f"out{ending}")
        assert hear(tmp_path / f"out{ending}").codec == expected


def test_all_kinds_of_films_are_tried():
    assert set(ENDINGS) | {".m4v"} == set(CONTAINERS)
