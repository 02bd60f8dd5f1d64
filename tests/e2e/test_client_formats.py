"""What people's real files hold, through a real TorchServe: nothing lost, or said so."""

from __future__ import annotations

import itertools
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from eden_client.film.plan.duplicates import SAME
from media import encode_image
from media.truncation import missing_bytes
from tests.e2e.client_films import (
    CLIP,
    beep_start,
    first_white,
    long_clip,
    look_at,
    run,
    start,
    told,
    write_film,
)

SMALL = [frame[:48, :64].copy() for frame in CLIP]
OTHER = [np.ascontiguousarray(255 - frame[::-1, ::-1]) for frame in SMALL]


def lossless(path, frames, **options):
    return write_film(path, frames, codec="ffv1", pixel_format="bgr0", **options)


# ---------------------------------------------------------------- cuts


def test_at_a_cut_the_frame_is_repeated(server, tmp_path, capsys):
    source = lossless(tmp_path / "two.mkv", SMALL[:6] + OTHER[:6])
    assert run(server, source, tmp_path / "out.mkv", "--json") == 0
    assert told(capsys)["repeated"] == {"cut": 1}
    seen = look_at(tmp_path / "out.mkv").frames
    assert np.array_equal(seen[11], SMALL[5]) and np.array_equal(seen[12], OTHER[0])
    assert not np.array_equal(seen[9], SMALL[4])
    assert run(server, source, tmp_path / "smeared.mkv", "--cuts", "off") == 0
    smeared = look_at(tmp_path / "smeared.mkv").frames[11]
    assert not np.array_equal(smeared, SMALL[5]) and not np.array_equal(smeared, OTHER[0])


def test_a_cut_at_other_rates_stays_where_it_was(server, tmp_path):
    source = lossless(tmp_path / "two.mkv", SMALL[:6] + OTHER[:6])
    assert run(server, source, tmp_path / "x4.mkv", "--times", "4", "--strategy", "batch") == 0
    seen = look_at(tmp_path / "x4.mkv").frames
    assert all(np.array_equal(frame, SMALL[5]) for frame in seen[20:24])
    assert np.array_equal(seen[24], OTHER[0])


# ---------------------------------------------------------------- duplicates


def test_duplicates_are_not_sent(server, tmp_path, capsys):
    frames = [SMALL[i // 2] for i in range(12)]
    source = lossless(tmp_path / "twos.mkv", frames)
    assert run(server, source, tmp_path / "keep.mkv", "--json") == 0
    summary = told(capsys)
    assert summary["repeated"] == {"duplicate": 6} and summary["traffic"]["pairs"] == 5
    kept = look_at(tmp_path / "keep.mkv").frames
    assert len(kept) == 23
    assert all(np.array_equal(kept[4 * i], kept[4 * i + k]) for i in range(5) for k in (1, 2))
    assert run(server, source, tmp_path / "off.mkv", "--duplicates", "off", "--json") == 0
    assert told(capsys)["traffic"]["pairs"] == 11


def test_skipped_duplicates_give_way_to_motion(server, tmp_path, capsys):
    source = lossless(tmp_path / "twos.mkv", [SMALL[i // 2] for i in range(12)])
    assert run(server, source, tmp_path / "skip.mkv", "--duplicates", "skip", "--json") == 0
    assert told(capsys)["traffic"]["pairs"] == 15  # three quarters between each two of six drawings
    skipped = look_at(tmp_path / "skip.mkv")
    assert len(skipped.frames) == 23
    assert len({frame.tobytes() for frame in skipped.frames[:21]}) == 21
    assert all(np.array_equal(skipped.frames[4 * i], SMALL[i]) for i in range(6))


def test_coding_noise_does_not_make_a_duplicate_unlike(server, tmp_path, capsys):
    frames = [frame for frame in SMALL[:4] for _ in range(3)]
    source = write_film(tmp_path / "threes.mp4", frames, options={"preset": "ultrafast", "crf": "10"})
    noise = [block_difference(a, b) for a, b in itertools.pairwise(look_at(source).frames)]
    coded_alike = [noise[i] for i in range(len(noise)) if i % 3 != 2]
    assert len(coded_alike) == 8 and min(coded_alike) > 0 and max(coded_alike) < 0.75 * SAME, noise
    assert run(server, source, tmp_path / "out.mp4", "--json") == 0
    assert told(capsys)["repeated"] == {"duplicate": 8}, noise


def block_difference(first, second):
    """Grey levels by which the most unlike of the blocks of 16 x 16 pixels differ on average."""
    apart = np.abs(first.astype(int) - second)
    height, width = apart.shape[:2]
    return float(apart.reshape(height // 16, 16, width // 16, 16, 3).mean((1, 3)).max())


# ---------------------------------------------------------------- variable frame rate


def variable_times(count):
    """Steps of 1/30, 1/15 and 1/24 s, as a phone records them."""
    steps = [Fraction(1, 30), Fraction(1, 15), Fraction(1, 30), Fraction(1, 24)]
    times = [Fraction(0)]
    for index in range(count - 1):
        times.append(times[-1] + steps[index % 4])
    return times


def test_a_variable_rate_keeps_its_time_stamps(server, tmp_path):
    times = variable_times(16)
    source = write_film(tmp_path / "vfr.mp4", long_clip(16), times=times)
    assert run(server, source, tmp_path / "true.mp4") == 0
    seen = look_at(tmp_path / "true.mp4").times
    assert seen[::2] == times
    assert seen[1::2] == [(a + b) / 2 for a, b in itertools.pairwise(times)]


def test_a_variable_rate_becomes_a_constant_one_when_asked(server, tmp_path):
    times = variable_times(16)
    source = write_film(tmp_path / "vfr.mp4", long_clip(16), times=times)
    assert run(server, source, tmp_path / "even.mp4", "--fps", "50", "--depth", "1") == 0
    seen = look_at(tmp_path / "even.mp4")
    assert seen.times == [Fraction(i, 50) for i in range(len(seen.times))]
    assert float(times[-1]) <= len(seen.times) / 50 <= float(times[-1]) + 0.1


@pytest.fixture(scope="module")
def long_film(tmp_path_factory):
    """Its pictures are at odd moments of a minute and a half: the film, and when a white one comes, with a beep."""
    times = [Fraction(0)]
    for index in range(60):
        times.append(times[-1] + Fraction([3003, 4504, 3754, 1501][index % 4] * 45, 90_000))
    frames = [frame[:32, :32].copy() for frame in long_clip(len(times))]
    white = 57
    frames[white][:] = 255
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    return write_film(path, frames, Fraction(5), times=times, sound=["aac"], beep_at=float(times[white])), times[white]


@pytest.mark.parametrize("options", [[], ["--fps", "3", "--depth", "2"]], ids=["true", "constant"])
def test_sound_is_in_sync_at_the_end_of_a_long_film(server, long_film, tmp_path, options):
    source, white = long_film
    assert run(server, source, tmp_path / "out.mp4", *options, "--strategy", "batch", "--clip", "32") == 0
    seen = look_at(tmp_path / "out.mp4")
    slack = 0.02 if not options else 0.34  # the step of --fps
    assert float(seen.times[first_white(seen.frames)] - white) == pytest.approx(0, abs=slack)
    added = beep_start(source) - float(white)
    assert beep_start(tmp_path / "out.mp4") - float(white) == pytest.approx(added, abs=0.012)


# ---------------------------------------------------------------- carried over


ASS_HEADER = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


def rich_film(path, subtitle="subrip"):
    """Two sound tracks of two languages, subtitles, chapters, words, colour tags, non-square pixels, a turn."""
    plain = write_film(path.with_name("plain.mkv"), SMALL[:12], sound=["aac", "libopus"], beep_at=0.1)
    with av.open(plain) as source, av.open(path, "w") as target:
        target.metadata.update({"title": "A rich film", "artist": "nobody"})
        streams = {}
        for stream in source.streams:
            if stream.type == "video":
                video = target.add_stream("libx264", rate=24, options={"crf": "12"})
                video.height, video.width, video.pix_fmt = 48, 64, "yuv420p"
                video.codec_context.sample_aspect_ratio = Fraction(4, 3)
                video.codec_context.color_primaries = video.codec_context.color_trc = 1
                video.codec_context.colorspace, video.codec_context.color_range = 1, 1
                video.set_display_rotation(90)
            else:
                streams[stream.index] = target.add_stream_from_template(stream)
        tracks = list(streams.values())
        tracks[0].metadata["language"], tracks[1].metadata["language"] = "eng", "fra"
        words = target.add_stream(subtitle)
        words.metadata["language"] = "ita"
        words.codec_context.subtitle_header = ASS_HEADER
        words.time_base = Fraction(1, 1000)
        target.set_chapters(
            [
                {
                    "id": i,
                    "start": 250 * i,
                    "end": 250 * i + 250,
                    "time_base": Fraction(1, 1000),
                    "metadata": {"title": f"Part {i}"},
                }
                for i in range(2)
            ]
        )
        for packet in source.demux():
            if packet.stream.type == "video":
                for frame in packet.decode():
                    frame.pict_type = 0
                    target.mux(video.encode(frame))
            elif packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
        target.mux(video.encode())
        text = b"Buongiorno" if subtitle == "subrip" else b"\0\x0aBuongiorno"
        line = av.Packet(text)
        line.pts = line.dts = 100
        line.duration, line.time_base, line.stream = 300, Fraction(1, 1000), words
        target.mux(line)
    return path


@pytest.mark.parametrize(
    ("given", "made", "subtitles"),
    [("rich.mkv", "out.mkv", "srt"), ("rich.mkv", "out.mp4", "mov_text"), ("rich.mp4", "out.mov", "mov_text")],
)
def test_everything_else_is_carried_over(server, tmp_path, given, made, subtitles):
    source = rich_film(tmp_path / given, "subrip" if given.endswith("mkv") else "mov_text")
    assert run(server, source, tmp_path / made) == 0
    with av.open(tmp_path / made) as film:
        kinds = [stream.type for stream in film.streams if stream.type != "data"]  # MP4's chapters are one
        assert kinds == ["video", "audio", "audio", "subtitle"]
        assert [s.codec_context.name for s in film.streams.audio] == ["aac", "aac" if made.endswith("mov") else "opus"]
        assert [s.metadata.get("language") for s in film.streams.audio] == ["eng", "fra"]
        words = {name.lower(): text for name, text in film.metadata.items()}
        assert words["title"] == "A rich film" and words["artist"] == "nobody"
        chapters = [(float(c["start"] * c["time_base"]), c["metadata"]["title"]) for c in film.chapters()]
        assert chapters == [(0.0, "Part 0"), (0.25, "Part 1")]
        video = film.streams.video[0]
        assert video.sample_aspect_ratio == Fraction(4, 3)
        frame = next(film.decode(video))
        assert frame.rotation == 90
        assert (frame.color_primaries, frame.color_trc, frame.colorspace, frame.color_range) == (1, 1, 1, 1)
        words = film.streams.subtitles[0]
        assert words.codec_context.name == subtitles and words.metadata.get("language") == "ita"
    with av.open(tmp_path / made) as film:
        (line,) = [packet for packet in film.demux(subtitles=0) if packet.size > 2]
        assert b"Buongiorno" in bytes(line)
        assert float(line.pts * line.time_base) == pytest.approx(0.1, abs=0.06)
    for track in (0, 1):
        apart = beep_start(tmp_path / made, track) - beep_start(source, track)
        assert apart == pytest.approx(0, abs=0.03)


def test_what_a_container_cannot_hold_is_named(server, tmp_path, capsys):
    source = rich_film(tmp_path / "rich.mkv")
    assert run(server, source, tmp_path / "out.webm", "--preset", "8", "--json") == 0
    warnings = " ".join(told(capsys)["warnings"])
    assert "aac" in warnings and "libopus" in warnings and "webvtt" in warnings
    assert "pixels of 4/3 become square" in warnings
    with av.open(tmp_path / "out.webm") as film:
        assert [s.codec_context.name for s in film.streams.audio] == ["opus", "opus"]
        assert [stream.type for stream in film.streams].count("subtitle") == 1


@pytest.mark.parametrize("target", ["out.gif", "out/", "out.png"])
def test_what_cannot_say_that_it_is_to_be_turned_is_turned(server, tmp_path, capsys, target):
    source = rich_film(tmp_path / "rich.mkv")
    compare = ["--compare"] if target == "out.png" else []
    assert run(server, source, f"{tmp_path}/{target}", "--json", *compare) == 0
    warnings = told(capsys)["warnings"]
    if not compare:
        assert "sound and subtitles left out" in warnings[0] and "pixels of 3/4 become square" in warnings[1]
    with Image.open(tmp_path / target / "000003.png" if target == "out/" else tmp_path / target) as picture:
        assert picture.size == (48 if not compare else 3 * 48 + 8, 64)
        if target == "out/":
            assert np.abs(np.asarray(picture).astype(int) - np.rot90(SMALL[1])).mean() < 8


# ---------------------------------------------------------------- ten bits, transparency


def deep(frames):
    """8-bit frames as 16-bit ones that use the bits below, too."""
    ramp = np.arange(frames[0].shape[1], dtype=np.uint16)[None, :, None]
    return [frame.astype(np.uint16) * 257 // 2 + ramp * 37 for frame in frames]


def test_ten_bits_are_kept(server, tmp_path, capsys):
    source = write_film(tmp_path / "deep.mkv", deep(SMALL[:5]), codec="ffv1", pixel_format="yuv444p10le")
    assert run(server, source, tmp_path / "deep_out.mkv", "--json") == 0
    assert any("10 bits are kept" in warning for warning in told(capsys)["warnings"])
    before, after = look_at(source, "yuv444p16le"), look_at(tmp_path / "deep_out.mkv", "yuv444p16le")
    assert after.pixel_format == "yuv444p10le" and len(after.frames) == 9
    assert all(np.array_equal(a, b) for a, b in zip(before.frames, after.frames[::2], strict=True))
    assert run(server, source, tmp_path / "plays.mp4") == 0
    assert (look_at(tmp_path / "plays.mp4").codec, look_at(tmp_path / "plays.mp4").pixel_format) == (
        "hevc",
        "yuv444p10le",
    )


def test_fewer_bits_are_said_so(server, tmp_path, capsys):
    source = write_film(tmp_path / "deep.mkv", deep(SMALL[:3]), codec="ffv1", pixel_format="yuv420p10le")
    assert run(server, source, tmp_path / "out.mp4", "--pixel-format", "yuv420p", "--codec", "h264", "--json") == 0
    assert "the source has 10 bits per colour, yuv420p keeps 8" in told(capsys)["warnings"]


def transparent(frames):
    """A disc of the frame, opaque, that moves over nothing."""
    down, across = np.mgrid[0:48, 0:64]
    made = []
    for index, frame in enumerate(frames):
        disc = ((down - 24) ** 2 + (across - 20 - 4 * index) ** 2 < 200) * np.uint8(255)
        made.append(np.dstack([frame, disc.astype(np.uint8)]))
    return made


@pytest.mark.parametrize(
    ("name", "format"),
    [("out.mkv", "bgra"), ("out.mov", "yuva444p12le"), ("out.webm", "yuva420p"), ("out.gif", "bgra")],
)
def test_transparency_is_kept(server, tmp_path, name, format):
    frames = transparent(SMALL[:4])
    source = write_film(tmp_path / "disc.mkv", frames, codec="ffv1", pixel_format="bgra")
    assert run(server, source, tmp_path / name) == 0
    if name.endswith("webm"):  # FFmpeg's own decoder leaves VP9's alpha out, libvpx reads it
        with av.open(tmp_path / name) as film:
            decoder = av.CodecContext.create("libvpx-vp9", "r")
            seen = [f.to_ndarray(format="rgba") for p in film.demux(video=0) for f in decoder.decode(p)]
    else:
        seen = look_at(tmp_path / name, "rgba").frames
        assert look_at(tmp_path / name).pixel_format in (format, "yuva444p10le")
    assert len(seen) == 7
    for frame, given in zip(seen[::2], frames, strict=True):
        apart = np.abs(frame[..., 3].astype(int) - given[..., 3])
        assert (apart > 40).mean() < 0.02
    if name.endswith("mkv"):
        assert all(np.array_equal(frame, given) for frame, given in zip(seen[::2], frames, strict=True))


def test_lost_transparency_is_said_so(server, tmp_path, capsys):
    source = write_film(tmp_path / "disc.mkv", transparent(SMALL[:3]), codec="ffv1", pixel_format="bgra")
    assert run(server, source, tmp_path / "out.mp4", "--json") == 0
    assert any("transparency is lost" in warning for warning in told(capsys)["warnings"])


# ---------------------------------------------------------------- GIFs, folders, globs, pipes


def write_gif(path, frames):
    pictures = [Image.fromarray(frame) for frame in frames]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=80, loop=0)
    return path


def test_gif_in_and_out(server, tmp_path):
    source = write_gif(tmp_path / "in.gif", SMALL[:6])
    assert run(server, source, tmp_path / "out.gif") == 0
    seen = look_at(tmp_path / "out.gif")
    assert seen.codec == "gif" and len(seen.frames) == 11
    assert seen.times == [Fraction(4 * i, 100) for i in range(11)]
    assert np.abs(seen.frames[4].astype(int) - SMALL[2]).mean() < 8
    assert run(server, source, tmp_path / "out.mp4") == 0
    assert len(look_at(tmp_path / "out.mp4").frames) == 11


def test_folders_and_globs(server, tmp_path, capsys):
    folder = tmp_path / "shots"
    folder.mkdir()
    for index in [0, 1, 2, 9, 10, 11]:  # in natural order 10 comes after 9, and 3 to 8 are missing
        Image.fromarray(SMALL[index]).save(folder / f"shot{index}.png")
    assert run(server, folder, tmp_path / "out" / "", "--json") == 0
    assert "pictures are missing: 3-8" in told(capsys)["warnings"][0]
    made = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in made] == [f"{i:06d}.png" for i in range(1, 12)]
    given = [SMALL[index] for index in [0, 1, 2, 9, 10, 11]]
    assert all(np.array_equal(np.asarray(Image.open(p)), g) for p, g in zip(made[::2], given, strict=True))
    assert run(server, f"{folder}/shot1*.png", tmp_path / "jpg" / "f%03d.jpg", "--crf", "90") == 0
    assert [path.name for path in sorted((tmp_path / "jpg").iterdir())] == [f"f{i:03d}.jpg" for i in range(1, 6)]
    assert run(server, folder, tmp_path / "film.mp4", "--source-fps", "10") == 0
    assert look_at(tmp_path / "film.mp4").rate == 20


def test_sixteen_bit_pictures_reach_a_ten_bit_film(server, tmp_path):
    source = write_film(tmp_path / "deep.mkv", deep(SMALL[:3]), codec="ffv1", pixel_format="gbrp16le")
    folder = tmp_path / "deep"
    folder.mkdir()
    with av.open(source) as film:
        for index, frame in enumerate(film.decode(video=0)):
            encoder = av.CodecContext.create("png", "w")
            encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 64, 48, "rgb48be", Fraction(1, 24)
            (folder / f"{index}.png").write_bytes(bytes(encoder.encode(frame.reformat(format="rgb48be"))[0]))
    assert run(server, folder, tmp_path / "out.mkv", "--codec", "ffv1") == 0
    before, after = look_at(source, "rgb48le"), look_at(tmp_path / "out.mkv", "rgb48le")
    assert all(np.array_equal(a, b) for a, b in zip(before.frames, after.frames[::2], strict=True))


def test_pipes(server, tmp_path):
    """y4m from one process into the command, and out of it into another one."""
    source = write_film(tmp_path / "in.mkv", SMALL[:6], codec="ffv1", pixel_format="yuv420p")
    reader = [sys.executable, "-c", PIPED, str(source)]
    with subprocess.Popen(reader, stdout=subprocess.PIPE) as giving:
        process = start(server, "-", "-", stdin=giving.stdout, stdout=subprocess.PIPE, text=False)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert out.startswith(b"YUV4MPEG2 W64 H48 F48:1") and out.count(b"FRAME\n") == 11
    (tmp_path / "out.y4m").write_bytes(out)
    seen, given = look_at(tmp_path / "out.y4m"), look_at(source)
    assert all(np.array_equal(a, b) for a, b in zip(seen.frames[::2], given.frames, strict=True))


def test_a_pipe_that_nobody_reads_ends_with_one_clear_line(server, tmp_path):
    source = write_film(tmp_path / "in.mkv", long_clip(100))
    gone = start(server, source, "-", "--json", stdout=subprocess.PIPE, text=False)
    gone.stdout.read(10_000)
    gone.stdout.close()
    with Path("/dev/full").open("wb") as full:
        nowhere = start(server, source, "-", stdout=full)
    for process, wrong in ((gone, "Broken pipe"), (nowhere, "No space left on device")):
        told = process.stderr.read()
        told = told.decode() if isinstance(told, bytes) else told
        assert process.wait(60) == 1
        assert f"eden-interpolate: standard output cannot be written to: {wrong}\n" in told
        assert "--resume" not in told and "Traceback" not in told
        process.stderr.close()


def test_what_was_rgb_looks_the_same_behind_a_pipe(server, tmp_path):
    """y4m cannot say which colours it means; readers take what FFmpeg takes. It can say the shape of pixels."""
    source = lossless(tmp_path / "in.mkv", SMALL[:2])
    with (tmp_path / "out.y4m").open("wb") as out:
        process = start(server, source, "-", stdout=out)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert (tmp_path / "out.y4m").read_bytes().startswith(b"YUV4MPEG2 W64 H48 F48:1 Ip A1:1 C444")
    for shown, given in zip(look_at(tmp_path / "out.y4m").frames[::2], SMALL, strict=False):
        assert np.abs(shown.astype(int) - given).max() <= 3


PIPED = """
import sys, av
with av.open(sys.argv[1]) as source, av.open(sys.stdout.buffer, "w", format="yuv4mpegpipe") as pipe:
    stream = pipe.add_stream("wrapped_avframe", rate=24)
    stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
    for frame in source.decode(video=0):
        pipe.mux(stream.encode(frame))
"""


# ---------------------------------------------------------------- codec, quality, pixel format


@pytest.mark.parametrize(
    ("options", "codec", "format"),
    [
        (["--codec", "hevc", "--preset", "ultrafast"], "hevc", "yuv420p"),
        (["--codec", "av1", "--preset", "12", "--crf", "40"], "libdav1d", "yuv420p"),
        (["--codec", "h264", "--pixel-format", "yuv444p"], "h264", "yuv444p"),
        (["--codec", "ffv1"], "ffv1", "yuv420p"),
    ],
    ids=lambda value: value[1] if isinstance(value, list) else None,
)
def test_codec_and_pixel_format_are_theirs(server, tmp_path, options, codec, format):
    source = write_film(tmp_path / "in.mp4", SMALL[:3])
    assert run(server, source, tmp_path / "out.mkv", *options) == 0
    seen = look_at(tmp_path / "out.mkv")
    assert (seen.codec, seen.pixel_format, len(seen.frames)) == (codec, format, 5)


def test_quality_is_theirs(server, tmp_path):
    source = write_film(tmp_path / "in.mp4", SMALL[:6])
    sizes = []
    for crf in ("5", "40"):
        assert run(server, source, tmp_path / f"{crf}.mp4", "--crf", crf) == 0
        sizes.append((tmp_path / f"{crf}.mp4").stat().st_size)
    assert sizes[0] > 2 * sizes[1]


# ---------------------------------------------------------------- compare


def test_compare(server, tmp_path):
    source = lossless(tmp_path / "in.mkv", SMALL[:6])
    assert run(server, source, tmp_path / "picture.png", "--compare") == 0
    picture = np.asarray(Image.open(tmp_path / "picture.png"))
    assert picture.shape == (48, 3 * 64 + 8, 3)
    assert run(server, source, tmp_path / "film.mkv", "--compare") == 0
    frames = look_at(tmp_path / "film.mkv").frames
    assert len(frames) == 11 and frames[0].shape == picture.shape
    bottom = slice(20, 48)  # below the names
    assert np.array_equal(frames[1][bottom, :64], SMALL[0][bottom])
    blended = (SMALL[0].astype(int) + SMALL[1]) / 2
    assert np.abs(frames[1][bottom, 68:132] - blended[bottom]).max() <= 1
    assert not np.array_equal(frames[1][bottom, 136:], frames[1][bottom, 68:132])


# ---------------------------------------------------------------- bad files


def bad_files(folder):
    film = write_film(folder / "film.mp4", SMALL[:8], sound=["aac"])
    whole = film.read_bytes()
    matroska = write_film(folder / "film.mkv", SMALL[:8]).read_bytes()
    sound = folder / "sound.mp4"
    with av.open(sound, "w") as container:
        stream = container.add_stream("aac", rate=48_000)
        block = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        block.sample_rate = 48_000
        container.mux(stream.encode(block))
        container.mux(stream.encode())
    frameless = folder / "frameless.mkv"
    with av.open(frameless, "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        container.start_encoding()
    return {
        "truncated.mp4": (whole[: len(whole) // 2], "not a readable video, or a damaged one"),
        "truncated.mkv": (matroska[: len(matroska) // 2], "truncated"),
        "sound.mp4": (sound.read_bytes(), "no video stream"),
        "frameless.mkv": (frameless.read_bytes(), "not a readable video"),
        "one.mp4": (write_film(folder / "1.mp4", SMALL[:1]).read_bytes(), "a single picture"),
        "picture.png": (encode_image(SMALL[0], "png"), "a single picture"),
        "rateless.mjpeg": (3 * encode_image(SMALL[0], "jpeg"), "no frame rate (--source-fps"),
        "letter.txt": (b"this is a letter, not a film\n" * 50, "it is a text, not a video"),
        "text.mp4": (b"this is a letter, not a film\n" * 50, "not a readable video"),
        "empty.mp4": (b"", "empty"),
    }


@pytest.mark.parametrize(
    "name",
    [
        "truncated.mp4",
        "truncated.mkv",
        "sound.mp4",
        "frameless.mkv",
        "one.mp4",
        "picture.png",
        "rateless.mjpeg",
        "letter.txt",
        "text.mp4",
        "empty.mp4",
    ],
)
def test_bad_files_end_with_one_clear_line(server, tmp_path, capsys, name):
    making = tmp_path / "making"
    making.mkdir()
    data, wrong = bad_files(making)[name]
    source, place = tmp_path / name, tmp_path / "place"
    source.write_bytes(data)
    place.mkdir()
    assert run(server, source, place / "out.mp4") == 1
    lines = capsys.readouterr().err.splitlines()
    assert wrong in lines[-1] and name in lines[-1], lines
    assert not any("Traceback" in line for line in lines)
    assert not list(place.iterdir())


def test_a_film_cut_between_two_pictures_is_noticed(tmp_path):
    """Where a decoder would see nothing wrong: MP4 with its index in front, cut after a whole sample."""
    path = write_film(tmp_path / "film.mov", SMALL[:8], codec="mjpeg", pixel_format="yuvj420p", format="mov")
    with av.open(path) as film:
        ends = sorted(entry.pos + entry.size for entry in film.streams.video[0].index_entries)
        assert missing_bytes(film, b"", ends[4]) == ends[-1] - ends[4]
        assert missing_bytes(film, b"", path.stat().st_size) == 0


@pytest.mark.parametrize(
    ("target", "options", "wrong"),
    [
        ("out.xyz", [], "unknown kind of file"),
        ("nowhere/out.mp4", [], "no such folder"),
        ("out.webm", ["--codec", "h264"], "cannot hold h264"),
        ("out.mp4", ["--codec", "nonsense"], "unknown video codec"),
        ("out.mp4", ["--pixel-format", "rgb565"], "does not take rgb565"),
        ("out.mkv", ["--codec", "ffv1", "--crf", "3"], "no quality"),
        ("out.mp4", ["--preset", "nonsense"], "libx264"),
        ("out.png", [], "--compare"),
        ("out.png", ["--compare", "--crf", "3"], "png is lossless"),
        ("out.gif", ["--crf", "3"], "a GIF has no --crf"),
        ("out", ["--codec", "h264"], "has no --codec"),
    ],
)
def test_bad_wishes_end_with_one_clear_line(server, tmp_path, capsys, target, options, wrong):
    source = write_film(tmp_path / "in.mp4", SMALL[:3])
    place = tmp_path / "place"
    place.mkdir()
    assert run(server, source, place / target, *options) == 1
    assert wrong in capsys.readouterr().err.splitlines()[-1]
    assert not list(place.iterdir())


def test_a_film_larger_than_the_server_takes(server, tmp_path, capsys):
    flat = [np.full((4400, 9000, 3), level, np.uint8) for level in (60, 120)]
    source = write_film(tmp_path / "large.mkv", flat, codec="mjpeg", pixel_format="yuvj420p")
    quick = ("--cuts", "off", "--transport", "png", "--preset", "ultrafast")
    assert run(server, source, tmp_path / "out.mkv", *quick) == 1
    assert "39600000" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out.mkv").exists() and not (tmp_path / "out.mkv.parts").exists()


def test_a_missing_file(server, tmp_path, capsys):
    assert run(server, tmp_path / "none.mp4", tmp_path / "out.mp4") == 1
    assert "none.mp4: No such file" in capsys.readouterr().err


def test_help_reads_well():
    shown = subprocess.run([sys.executable, "-m", "eden_client", "--help"], capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0 and max(map(len, shown.stdout.splitlines())) <= 100
    for option in ("--times", "--fps", "--strategy", "--resume", "--json", "--cuts", "--compare", "--route"):
        assert option in shown.stdout


def test_options_are_checked(server, capsys):
    for wrong in (["--fps", "0"], ["--clip", "1"], ["--cuts", "2"], ["--times", "3"], ["--fps", "1/0"]):
        with pytest.raises(SystemExit) as ended:
            run(server, "a.mp4", "b.mp4", *wrong)
        assert ended.value.code == 2
    assert "error" in capsys.readouterr().err
    for route in ("workflow", "fused"):
        assert run(server, "a.mp4", "b.mp4", "--route", route, "--decoder-server", "http://127.0.0.1:9") == 1
        assert f"the route {route} is through one server" in capsys.readouterr().err
