"""What an encoder, a machine or a file system does not take: named, with the file, before the first frame."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from eden_client.film.read.film import VideoFormat
from eden_client.film.resume_journal import LONGEST_NAME, parts_folder
from eden_client.film.write.encoding import ENCODERS, choose_encoding
from eden_client.film.write.hardware import KINDS, hardware
from media import MediaError, encode_video
from tests.unit.client.film.test_film_targets import FRAMES, codec_of, make

SOFTWARE = "libx264"


def of(**changes) -> VideoFormat:
    return VideoFormat(**({"size": (48, 64), "rate": Fraction(24), "pixel_format": "yuv420p"} | changes))


def choose(ending, codec, **film):
    return choose_encoding(of(**film), ending, codec, None, None, None)


@pytest.fixture
def source(tmp_path):
    encode_video(FRAMES[:3], Fraction(25), tmp_path / "in.mp4")
    return tmp_path / "in.mp4"


@pytest.fixture
def place(tmp_path):
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


# ---------------------------------------------------------------- pictures


@pytest.mark.parametrize(
    ("codec", "film", "wrong"),
    [
        ("av1", {"rate": Fraction(241)}, "libsvtav1 takes 240 frames per second at most, not 241: --fps sets fewer"),
        ("av1", {"rate": Fraction(240_001, 1000)}, "240 frames per second at most, not 240.001"),
        ("hevc", {"size": (64, 48)}, "libx265 needs pictures of at least 64x16, not 48x64"),
        ("hevc", {"size": (14, 64)}, "libx265 needs pictures of at least 64x16, not 64x14"),
        ("rawvideo", {}, "raw video is not written to .mkv: ffv1 is lossless too, and OUTPUT - writes y4m"),
    ],
)
def test_a_limit_is_named(codec, film, wrong):
    with pytest.raises(MediaError) as refused:
        choose(".mkv", codec, **film)
    assert wrong in str(refused.value)


@pytest.mark.parametrize(
    ("codec", "size", "rate"),
    [("hevc", (16, 64), 24), *((codec, (16, 16), 24) for codec in ("ffv1", "h264", "vp9")), ("av1", (16, 16), 240)],
)
def test_what_is_just_allowed_is_written(tmp_path, codec, size, rate):
    encode_video([np.full((*size, 3), level, np.uint8) for level in (0, 90)], Fraction(rate, 2), tmp_path / "in.mp4")
    make(tmp_path / "in.mp4", tmp_path / "out.mkv", codec=codec)
    assert codec_of(tmp_path / "out.mkv")[1] == 3


@pytest.mark.parametrize("film", [{"rate": Fraction(300)}, {"size": (16, 48), "codec": "hevc"}], ids=str)
def test_a_default_is_within_its_limits(film):
    encoding, _ = choose_encoding(of(**{"codec": "av1"} | film), ".mp4", None, None, None, None)
    assert encoding.codec == SOFTWARE


def test_the_rate_is_that_of_the_result(source, place):
    with pytest.raises(MediaError, match=r"out\.mp4: libsvtav1 takes 240 frames per second at most, not 250"):
        make(source, place / "out.mp4", codec="av1", fps=Fraction(250))
    assert not list(place.iterdir())


@pytest.mark.parametrize(
    ("film", "codec", "note"),
    [
        (
            {"pixel_format": "rgb24"},
            None,
            "rgb24 becomes yuv420p (--pixel-format yuv444p keeps it, where it is played)",
        ),
        ({"pixel_format": "yuv411p"}, None, "yuv411p becomes yuv420p (--pixel-format yuv422p keeps it"),
        ({"pixel_format": "yuv444p"}, "av1", "yuv444p becomes yuv420p"),
        ({"pixel_format": "yuv410p"}, None, None),
        ({"pixel_format": "yuv422p"}, None, None),
        ({"pixel_format": "gray"}, None, None),
        ({"pixel_format": "rgb24"}, "ffv1", None),
    ],
)
def test_colours_that_lose_detail_are_told(film, codec, note):
    _, notes = choose(".mkv", codec, **film)
    told = [each for each in notes if each.startswith("colours lose detail: ")]
    assert [note in each for each in told] == [True] if note else told == []


# ---------------------------------------------------------------- hardware


@pytest.mark.parametrize(
    ("encoder", "options"),
    [
        ("h264_nvenc", {"rc": "vbr", "cq": "21", "b": "0"}),
        ("hevc_nvenc", {"rc": "vbr", "cq": "21", "b": "0"}),
        ("av1_nvenc", {"rc": "vbr", "cq": "21", "b": "0"}),
        ("hevc_qsv", {"global_quality": "21"}),
        ("av1_qsv", {"global_quality": "21"}),
        ("h264_vaapi", {"rc_mode": "CQP", "global_quality": "21"}),
        ("hevc_videotoolbox", {"flags": "+qscale", "global_quality": str(118 * 59)}),
    ],
)
def test_quality_is_in_the_words_of_the_hardware(encoder, options):
    assert hardware(encoder).quality(21) == options


@pytest.mark.parametrize("encoder", ["h264_nvenc", "hevc_nvenc", "av1_nvenc", "h264_qsv", "hevc_qsv", "av1_qsv"])
def test_ffmpeg_knows_the_options(encoder):
    known = av.CodecContext.create(encoder, "w").supported_options
    names = {option.name for options in (known.generic, known.private) for option in options}
    assert {*hardware(encoder).quality(21), "preset"} <= names


def test_software_is_no_hardware():
    assert not any(hardware(name) for name in ENCODERS.values())


@pytest.mark.parametrize(
    ("codec", "film", "pixel_format"),
    [
        ("h264_nvenc", {}, "yuv420p"),
        ("h264_nvenc", {"pixel_format": "rgb24"}, "yuv420p"),
        ("h264_nvenc", {"pixel_format": "yuv420p10le", "bits": 10}, "yuv420p"),
        ("hevc_nvenc", {"pixel_format": "yuv420p10le", "bits": 10}, "p010le"),
        ("h264_qsv", {}, "nv12"),
        ("hevc_qsv", {"pixel_format": "yuv420p10le", "bits": 10}, "p010le"),
    ],
)
def test_hardware_gets_pictures_from_main_memory(codec, film, pixel_format):
    video_format = of(size=(47, 63), **film)
    encoding, _ = choose_encoding(video_format, ".mp4", codec, 21, "medium", None)
    assert encoding.pixel_format == pixel_format and encoding.pad
    assert encoding.options == (*hardware(codec).quality(21).items(), ("preset", "medium"))


@pytest.mark.parametrize("codec", ["h264_nvenc", "hevc_nvenc", "av1_nvenc", "h264_qsv", "av1_qsv", "h264_vaapi",
                                   "hevc_videotoolbox"])  # fmt: skip
def test_hardware_that_is_not_there_is_told_before_a_frame_is_made(source, place, codec):
    needs, name = hardware(codec).needs, codec.split("_")[0]
    with pytest.raises(MediaError) as refused:
        make(source, place / "out.mp4", codec=codec)
    told = str(refused.value)
    assert told.startswith(f"out.mp4: {codec} needs {needs}: ") and told.endswith(
        f"; --codec {ENCODERS[name]} needs none"
    )
    assert not list(place.iterdir())


def test_every_kind_of_hardware_is_tried():
    assert {kind.ending for kind in KINDS} == {"_nvenc", "_qsv", "_vaapi", "_videotoolbox"}


# ---------------------------------------------------------------- names and links


@pytest.mark.parametrize("letter", ["x", "ä", "映"])
@pytest.mark.parametrize("ending", [".mp4", ".gif"])
def test_the_longest_name_that_a_file_can_have(source, place, letter, ending):
    name = letter * ((LONGEST_NAME - len(ending)) // len(letter.encode())) + ending
    make(source, place / name)
    assert [path.name for path in place.iterdir()] == [name]


def test_a_name_that_no_file_can_have_is_refused(source, place):
    with pytest.raises(MediaError, match="a name of 256 bytes, files have 255 at most"):
        make(source, place / ("x" * 252 + ".mp4"))
    assert not list(place.iterdir())


def test_parts_of_long_names_do_not_share_a_folder(tmp_path):
    first, second = (tmp_path / ("x" * 248 + letter + ".mp4") for letter in "ab")
    assert parts_folder(first) != parts_folder(second)
    assert parts_folder(tmp_path / "out.mp4") == tmp_path / "out.mp4.parts"


@pytest.mark.parametrize("ending", [".mp4", ".gif"])
def test_a_link_stays_one_and_what_it_points_to_is_written(source, place, tmp_path, ending):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "film").write_bytes(b"old")
    (place / f"out{ending}").symlink_to(tmp_path / "real" / "film")
    with pytest.raises(MediaError, match="exists already: --overwrite replaces it"):
        make(source, place / f"out{ending}")
    make(source, place / f"out{ending}", overwrite=True)
    assert (place / f"out{ending}").is_symlink() and codec_of(place / f"out{ending}")[1] == 5
    assert [path.name for path in (tmp_path / "real").iterdir()] == ["film"]


def test_a_link_to_nothing_yet_is_followed(source, place, tmp_path):
    (place / "out.mkv").symlink_to("../film.mkv")
    make(source, place / "out.mkv")
    assert (place / "out.mkv").is_symlink() and codec_of(tmp_path / "film.mkv")[1] == 5
    (place / "gone.mkv").symlink_to("nowhere/film.mkv")
    with pytest.raises(MediaError, match="nowhere: no such folder"):
        make(source, place / "gone.mkv")


def test_a_link_to_a_folder_of_pictures_is_followed(source, place, tmp_path):
    (tmp_path / "real").mkdir()
    (place / "shots").symlink_to(tmp_path / "real")
    make(source, f"{place / 'shots'}/%03d.png")
    assert sorted(path.name for path in (tmp_path / "real").iterdir()) == [f"00{n}.png" for n in range(1, 6)]


def test_hevc_has_the_tag_that_apple_plays(source, place):
    make(source, place / "out.mp4", codec="hevc")
    with av.open(place / "out.mp4") as film:
        assert film.streams.video[0].codec_tag == "hvc1"
