"""Sound of any kind, subtitles and chapters however odd: carried over or named, and the film never lost for them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest

from eden_client.film.join.chapters import fitted
from eden_client.film.join.joining import MuxPlan, join, rehearse
from eden_client.film.join.tracks import CopiedTrack
from eden_client.film.read.film_file import open_film_file
from eden_client.film.write.encoding import Encoding
from eden_client.film.write.segments import SegmentWriter
from media import MediaError
from tests.unit.client.film.sound_films import (
    LENGTH,
    LOOK,
    RATE,
    Joiner,
    Sound,
    chapters_of,
    damage,
    hear,
    kinds,
    move,
    own_order,
    patch,
    write_source,
)

pytestmark = pytest.mark.slow

ENDINGS = [".mp4", ".mov", ".mkv", ".webm"]


@pytest.fixture(scope="module")
def joined(tmp_path_factory):
    return Joiner(tmp_path_factory.mktemp("pictures"))


# ---------------------------------------------------------------- codecs, layouts, rates

CODECS = [
    ("aac", ".mkv"),
    ("aac", ".ts"),
    ("ac3", ".ts"),
    ("ac3", ".mkv"),
    ("eac3", ".mkv"),
    ("mp2", ".ts"),
    ("libmp3lame", ".avi"),
    ("flac", ".mkv"),
    ("alac", ".mov"),
    ("libopus", ".mkv"),
    ("wmav2", ".wmv"),
    ("wmav1", ".wmv"),
    ("pcm_s16le", ".avi"),
    ("pcm_s16le", ".mkv"),
    ("pcm_s24le", ".mov"),
    ("pcm_f32le", ".mkv"),
    ("pcm_alaw", ".avi"),
    ("adpcm_ms", ".avi"),
    ("wavpack", ".mkv"),
    ("tta", ".mkv"),
]


@pytest.mark.parametrize(("codec", "given"), CODECS, ids=lambda value: value)
def test_sound_of_any_codec_reaches_every_container(joined, tmp_path, codec, given):
    source = write_source(tmp_path / f"in{given}", [Sound(codec)])
    before = hear(source)
    with open_film_file(source) as film:
        start = float(film.start)
    for ending in ENDINGS:
        notes = joined(source, tmp_path / f"out{ending}")
        after = hear(tmp_path / f"out{ending}")
        if notes:
            encoder = "aac" if ending in (".mp4", ".mov") else "libopus"
            assert len(notes) == 1 and notes[0].startswith(f"sound track 1 is encoded anew as {encoder}: "), notes
        else:
            assert after.codec == before.codec or {after.codec, before.codec} == {"mp2", "mp3"}  # one name in MP4
        assert after.seconds == pytest.approx(before.seconds, abs=0.08)
        assert after.start == pytest.approx(before.start - start, abs=0.05)
        assert after.pitches() == pytest.approx({"FL": 440, "FR": 440}, abs=3)


LAYOUTS = ["mono", "2.1", "3.0", "4.0", "quad", "quad(side)", "5.0", "5.0(side)", "5.1", "5.1(side)", "6.1", "7.1"]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("ending", [".mov", ".webm"])
def test_every_loudspeaker_keeps_its_sound(joined, tmp_path, layout, ending):
    """FLAC, which neither of the two can hold. A loudspeaker at the side may become one at the back."""
    source = write_source(tmp_path / "in.mkv", [Sound("flac", layout=layout, pitch=60, spread=10)])
    assert len(joined(source, tmp_path / f"out{ending}")) == 1
    heard = hear(tmp_path / f"out{ending}").pitches()
    for number, channel in enumerate(av.AudioLayout(layout).channels):
        places = {channel.name} & heard.keys() or {"SL": {"BL"}, "SR": {"BR"}, "BC": {"BL", "BR"}}[channel.name]
        for place in places:
            assert heard.pop(place) == pytest.approx(60 + 10 * number, abs=3)
    assert not heard


OWN_ORDER = """
import sys
from pathlib import Path
from tests.unit.client.film.sound_films import Joiner
joined, source = Joiner(Path(sys.argv[1]).parent), Path(sys.argv[1])
print([joined(source, source.with_name(f"out{ending}")) for ending in (".mp4", ".mov", ".mkv", ".webm")])
"""


@pytest.mark.parametrize("labels", [(2, 1), (3, 3), (1, 1)], ids=["swapped", "twice the middle", "twice left"])
def test_channels_in_an_order_of_their_own_do_not_end_the_process(tmp_path, labels):
    source = own_order(write_source(tmp_path / "in.mov", [Sound("pcm_s16le")]), labels)
    command = [sys.executable, "-c", OWN_ORDER, str(source)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    copied = ["sound track 1 is copied: few players play pcm_s16le in mp4 (.mov and .mkv keep it)"]
    left_out = ["sound track 1 is left out: webm cannot hold pcm_s16le"]
    assert ended.stdout.strip() == str([copied, [], [], left_out])


@pytest.mark.parametrize("layout", ["2.1", "5.0(side)", "5.1(side)"])
def test_the_layouts_of_discs_become_opus(joined, tmp_path, layout):
    source = write_source(tmp_path / "in.mkv", [Sound("ac3", layout=layout)])
    (note,) = joined(source, tmp_path / "out.webm")
    assert note == "sound track 1 is encoded anew as libopus: webm cannot hold ac3"
    assert all(abs(each - 440) < 3 for each in hear(tmp_path / "out.webm").pitches().values())


@pytest.mark.parametrize(
    ("rate", "expected"),
    [(8000, 8000), (11025, 11025), (22050, 22050), (37800, 44100), (44100, 44100), (96000, 96000), (176400, 88200),
     (192000, 96000), (352800, 88200)],
)  # fmt: skip
def test_rates_that_aac_has_not_are_resampled(joined, tmp_path, rate, expected):
    source = write_source(tmp_path / "in.mkv", [Sound("flac", rate=rate)])
    assert len(joined(source, tmp_path / "out.mov")) == 1
    after = hear(tmp_path / "out.mov")
    assert (after.codec, after.rate) == ("aac", expected)
    assert after.pitches() == pytest.approx({"FL": 440, "FR": 440}, abs=3) and after.seconds == pytest.approx(
        1, abs=0.2
    )
    assert len(joined(source, tmp_path / "out.webm")) == 1
    assert all(abs(each - 440) < 3 for each in hear(tmp_path / "out.webm").pitches().values())


# ---------------------------------------------------------------- what FFmpeg does not know, or cannot use


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_ffmpeg_does_not_know_is_left_out_and_the_rest_is_not(joined, tmp_path, ending):
    source = write_source(tmp_path / "in.mkv", [Sound("libopus"), Sound("aac"), Sound("libopus")], subtitles="subrip")
    patch(source, b"A_AAC", b"A_XYZ")
    patch(source, b"S_TEXT/UTF8", b"S_TEXT/XXXX")
    notes = joined(source, tmp_path / f"out{ending}")
    left_out = ["sound track 2 is left out: FFmpeg does not know its codec",
                "subtitles 4 are left out: FFmpeg does not know its codec"]  # fmt: skip
    assert [note for note in notes if "encoded anew" not in note] == left_out
    assert kinds(tmp_path / f"out{ending}") == ["video", "audio", "audio"]
    assert all(hear(tmp_path / f"out{ending}", track).seconds == pytest.approx(1, abs=0.1) for track in (0, 1))


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_track_without_a_packet_is_left_out(joined, tmp_path, ending):
    write_source(tmp_path / "in.ts", [Sound("ac3")], empty_track=True)
    notes = joined(tmp_path / "in.ts", tmp_path / f"out{ending}")
    assert "sound track 2 is left out: no sound is found in it" in notes
    assert kinds(tmp_path / f"out{ending}") == ["video", "audio"]


def test_what_passes_the_header_and_fails_at_a_packet_is_named(joined, tmp_path):
    """MP3 that says it is AAC can neither be copied into MP4 nor decoded; muxers do not tell who is to blame."""
    source = write_source(
        tmp_path / "in.mkv",
        [Sound("ac3"), Sound("libmp3lame")],
        subtitles="subrip",
        chapters=[(0, 900)],
        tags={"title": "A"},
    )
    patch(source, b"A_MPEG/L3", b"A_AAC/MP4")
    assert joined(source, tmp_path / "out.mp4") == [
        "sound track 2 is left out: aac cannot be encoded anew (nothing of it can be decoded)",
        "subtitles 3 are turned into mov_text, styles may be lost: mp4 cannot hold srt",
    ]
    assert kinds(tmp_path / "out.mp4") == ["video", "audio", "subtitle"]
    assert hear(tmp_path / "out.mp4").codec == "ac3" and chapters_of(tmp_path / "out.mp4") == [(0, 0.9, "Part 0")]
    with av.open(tmp_path / "out.mp4") as film:
        assert film.metadata["title"] == "A"


def test_attachments_and_time_codes(joined, tmp_path):
    plain = write_source(tmp_path / "plain.mkv", [Sound("aac")])
    chapters = [{"id": 1, "start": 0, "end": 500, "time_base": Fraction(1, 1000), "metadata": {"title": "One"}}]
    for name, tags in (("font.mkv", {}), ("timecode.mov", {"timecode": "01:00:00:00"})):
        with av.open(plain) as given, av.open(tmp_path / name, "w") as made:
            ways = [made.add_stream_from_template(stream) for stream in given.streams]
            ways[0].metadata.update(tags)
            made.set_chapters(chapters)
            if not tags:
                made.add_attachment("a.ttf", "font/ttf", b"letters")
            for packet in given.demux():
                if packet.size:
                    packet.stream = ways[packet.stream.index]
                    made.mux(packet)
    assert joined(tmp_path / "font.mkv", tmp_path / "out.mkv") == []
    with av.open(tmp_path / "out.mkv") as film:
        assert film.streams.attachments[0].data == b"letters"
    assert joined(tmp_path / "font.mkv", tmp_path / "out.mp4") == ["stream 2 (attachment: a.ttf) is left out"]
    (note,) = joined(tmp_path / "timecode.mov", tmp_path / "out.mov")
    assert note == "stream 3 (data: TimeCodeHandler) is left out"
    assert kinds(tmp_path / "out.mov") == ["video", "audio"]
    assert chapters_of(tmp_path / "out.mov") == [(0, 0.5, "One")]


# ---------------------------------------------------------------- times


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(("back", "note"), [(0, "moved behind"), (5, "moved behind"), (300, "left out")])
def test_sound_whose_times_do_not_grow(joined, tmp_path, back, note, ending):
    source = write_source(tmp_path / "in.mkv", [Sound("libopus" if ending == ".webm" else "aac")])
    times = packets_of(source)
    move(source, -2, times[-3] - times[-2] - back)
    notes = joined(source, tmp_path / f"out{ending}")
    assert len(packets_of(tmp_path / f"out{ending}")) == len(times) - (note == "left out")
    if back == 0 and ending in (".mkv", ".webm"):  # which may hold such
        note = ""
    assert len(notes) == bool(note) and all(note in each for each in notes)


def packets_of(path, kind="audio"):
    with av.open(path) as film:
        return [packet.dts for packet in film.demux() if packet.stream.type == kind and packet.size > 2]


def test_packets_without_times_follow_one_another(tmp_path):
    source = write_source(tmp_path / "in.mkv", [Sound("ac3")])
    with av.open(source) as given, av.open(tmp_path / "out.mp4", "w") as made:
        track = CopiedTrack(given.streams.audio[0], made, Fraction(0))
        made.start_encoding()
        for packet in given.demux(audio=0):
            if packet.size:
                packet.pts = packet.dts = None
                for _, taken in track.take(packet):
                    made.mux(taken)
        assert track.notes() == []
    assert packets_of(tmp_path / "out.mp4") == [1536 * number for number in range(len(packets_of(source)))]


@pytest.mark.parametrize("ending", ENDINGS)
def test_lines_of_text_at_the_same_time_and_in_any_order(joined, tmp_path, ending):
    lines = [(100, 300), (100, 250), (100, 400), (500, 600), (450, 600)]
    source = write_source(tmp_path / "in.mkv", [], subtitles="ass", lines=lines)
    notes = joined(source, tmp_path / f"out{ending}")
    assert len(notes) == (ending != ".mkv") and all("styles may be lost" in note for note in notes)
    assert kinds(tmp_path / f"out{ending}") == ["video", "subtitle"]
    assert len(packets_of(tmp_path / f"out{ending}", "subtitle")) == 5


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    ("given", "offset", "expected"),
    [
        ([(0, 2500), (2500, 3000)], 2, [(0, 0.5, "Part 0"), (0.5, 1, "Part 1")]),
        ([(0, 500), (500, 900_000), (900_000, 950_000)], 0, [(0, 0.5, "Part 0"), (0.5, 1, "Part 1")]),
        ([(0, 0), (400, 400), (700, 1000)], 0, [(0, 0.4, "Part 0"), (0.4, 0.7, "Part 1"), (0.7, 1, "Part 2")]),
    ],
    ids=["before the start", "beyond the end", "empty"],
)
def test_chapters_are_cut_to_the_film(joined, tmp_path, given, offset, expected, ending):
    source = write_source(tmp_path / "in.mkv", chapters=given, offset=Fraction(offset))
    notes = joined(source, tmp_path / f"out{ending}")
    found = chapters_of(tmp_path / f"out{ending}")
    assert [(start, title) for start, _, title in found] == [(start, title) for start, _, title in expected]
    assert notes == (
        [f"chapters left out, empty or outside of the film: {lost}"] if (lost := len(given) - len(expected)) else []
    )


def test_chapters_in_any_order():
    given = [(600, 900), (0, 300), (0, 900), (300, 200), (950, 40)]
    fields = {"id": 1, "time_base": Fraction(1, 1000), "metadata": {}}
    made = fitted([{"start": a, "end": b, **fields} for a, b in given], Fraction(0), Fraction(1))
    assert [(each["start"], each["end"]) for each in made] == [(0, 300), (0, 900), (300, 600), (600, 900), (950, 1000)]


@pytest.mark.parametrize("ending", ENDINGS)
def test_chapters_in_chapters(joined, tmp_path, ending):
    source = write_source(tmp_path / "in.mkv", chapters=[(0, 1000), (0, 500), (500, 1000)])
    assert joined(source, tmp_path / f"out{ending}") == []
    found = chapters_of(tmp_path / f"out{ending}")
    assert [title for _, _, title in found] == ["Part 1", "Part 0", "Part 2"]
    assert found[2][0] == 0.5 and all(0 <= start <= end <= 1 for start, end, _ in found)


# ---------------------------------------------------------------- damage, and change on the way


def test_a_damaged_packet_is_passed_over_and_what_follows_stays_in_time(joined, tmp_path):
    source = write_source(tmp_path / "in.mkv", [Sound("ac3")])
    assert len(joined(source, tmp_path / "sound.webm")) == 1
    damage(source, 5)
    assert joined(source, tmp_path / "out.webm")[1:] == ["sound track 1: 1 packet is damaged and left out"]
    before, after = packets_of(tmp_path / "sound.webm"), packets_of(tmp_path / "out.webm")
    assert after[-1] == pytest.approx(before[-1], abs=12) and len(after) < len(before)


def test_sound_that_changes_its_rate_and_layout_on_the_way(joined, tmp_path):
    """As broadcasts do, between one programme and the next."""
    first = write_source(tmp_path / "first.ts", [Sound("mp2", pitch=440)])
    second = write_source(tmp_path / "second.ts", [Sound("mp2", 44_100, "mono", pitch=660)], offset=Fraction(1))
    (tmp_path / "in.ts").write_bytes(first.read_bytes() + second.read_bytes())
    assert joined(tmp_path / "in.ts", tmp_path / "out.webm") == [
        "sound track 1 is encoded anew as libopus: webm cannot hold mp2"
    ]
    after = hear(tmp_path / "out.webm")
    half = after.samples.shape[1] // 2
    for samples, pitch in ((after.samples[:, :half], 440), (after.samples[:, half:], 660)):
        assert replace(after, samples=samples).pitches() == pytest.approx({"FL": pitch, "FR": pitch}, abs=5)
    assert after.seconds == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("ending", [".mp4", ".webm"])
def test_recordings_put_one_behind_the_other_are_heard_one_after_the_other(joined, tmp_path, ending):
    """Each has a clock of its own that starts anew."""
    parts = [
        write_source(tmp_path / f"{pitch}.ts", [Sound("mp2", pitch=pitch, seconds=2)]) for pitch in (440, 550, 660)
    ]
    (tmp_path / "in.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    notes = joined(tmp_path / "in.ts", tmp_path / f"out{ending}")
    assert notes[-1] == "sound track 1: clock restarts bridged: 2"
    times = packets_of(tmp_path / f"out{ending}")
    after = hear(tmp_path / f"out{ending}")
    assert after.seconds == pytest.approx(6, abs=0.15)
    for number, pitch in enumerate((440, 550, 660)):
        samples = after.samples[:, round((2 * number + 0.2) * after.rate) : round((2 * number + 1.8) * after.rate)]
        assert replace(after, samples=samples).pitches() == pytest.approx({"FL": pitch, "FR": pitch}, abs=5)
    assert all(a < b for a, b in pairwise(times)) and after.end == pytest.approx(6, abs=0.15)


@pytest.mark.parametrize("ending", [".mp4", ".webm"])
def test_a_damaged_line_of_text_is_passed_over(joined, tmp_path, ending):
    source = write_source(tmp_path / "in.mkv", subtitles="subrip", lines=[(100, 200), (300, 400), (500, 600)])
    data = source.read_bytes()
    second = data.index(b"Hello", data.index(b"Hello") + 1)
    source.write_bytes(data[:second] + b"\xff\xfe\xfa\xf0\xff" + data[second + 5 :])
    assert joined(source, tmp_path / f"out{ending}")[1:] == ["subtitles 1: 1 packet is damaged and left out"]
    assert len(packets_of(tmp_path / f"out{ending}", "subtitle")) == 2


# ---------------------------------------------------------------- tried before, and in spite of that


def test_what_will_fail_is_told_before(joined, tmp_path):
    source = write_source(tmp_path / "in.mkv", [Sound("ac3"), Sound("libmp3lame"), Sound("flac")], chapters=[(0, 900)])
    patch(source, b"A_MPEG/L3", b"A_AAC/MP4")
    joint, segments = joined.parts(source, ".mov")
    plan, notes = rehearse(segments, joint, tmp_path / "trial.mov")
    assert notes == [
        "sound track 2 is left out: aac cannot be encoded anew (nothing of it can be decoded)",
        "sound track 3 is encoded anew as aac: mov cannot hold flac",
    ]
    assert not (tmp_path / "trial.mov").exists()
    assert join(segments, joint, tmp_path / "out.mov", plan) == []
    assert kinds(tmp_path / "out.mov") == ["video", "audio", "audio"]
    assert hear(tmp_path / "out.mov", 1).seconds == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_film_is_joined_without_what_fails_only_then(joined, tmp_path, ending):
    """The file is another one than when it was tried: one of its tracks can be read no more."""
    source = write_source(tmp_path / "in.mkv", [Sound("libopus"), Sound("libmp3lame")], subtitles="subrip")
    joint, segments = joined.parts(source, ending)
    plan, notes = rehearse(segments, joint, tmp_path / f"trial{ending}")
    assert not any("left out" in note for note in notes)
    patch(source, b"A_MPEG/L3", b"A_XXXX/YZ")
    (note,) = join(segments, joint, tmp_path / f"out{ending}", plan)
    assert note.startswith("sound track 2 is left out: ")
    assert kinds(tmp_path / f"out{ending}") == ["video", "audio", "subtitle"]
    assert len(packets_of(tmp_path / f"out{ending}", "video")) == LENGTH


def test_pictures_that_cannot_be_written_are_told_before(tmp_path):
    joint = MuxPlan(Encoding("mov", "libvpx-vp9", "yuv420p"), LOOK, Fraction(1, 1000), 1 / RATE)
    writer = SegmentWriter(tmp_path / "0.nut", joint.encoding, LOOK, RATE, joint.tick)
    writer.write(av.VideoFrame(16, 16, "yuv420p"), Fraction(0))
    with pytest.raises(MediaError, match="mov of libvpx-vp9 cannot be written: Invalid argument"):
        rehearse([writer.close()], joint, tmp_path / "trial.mov")
    assert [path.name for path in tmp_path.iterdir()] == ["0.nut"]


def test_a_full_disk_is_not_taken_for_a_fault_of_the_sound(joined, tmp_path):
    joint, segments = joined.parts(write_source(tmp_path / "in.mkv", [Sound("aac")]), ".mkv")
    with pytest.raises(MediaError, match="full cannot be written: No space left on device"):
        join(segments, joint, Path("/dev/full"))
