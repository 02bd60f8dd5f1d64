"""What a film says about itself beside pictures and sound: kept, or named as lost, before the first frame."""

from __future__ import annotations

import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from eden_client.film.read.ending import gif_loops, hold_of_last
from eden_client.film.read.film import Mastering
from eden_client.film.read.film_file import open_film_file
from eden_client.film.write.encoding import CONTAINERS, STEREO_MODES, choose_encoding
from tests.unit.client.film.odd_films import with_another_stream
from tests.unit.client.film.sound_films import write_source
from tests.unit.client.film.test_film_targets import make

DISPLAY = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
P3 = Mastering(
    red=(Fraction(17, 25), Fraction(8, 25)),
    green=(Fraction(53, 200), Fraction(69, 100)),
    blue=(Fraction(3, 20), Fraction(3, 50)),
    white=(Fraction(3127, 10_000), Fraction(329, 1000)),
    darkest=Fraction(1, 10_000),
    brightest=Fraction(1000),
)


def film(path, codec="libx264", pixel_format="yuv420p", metadata=(), **options):
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=10, options=options)
        stream.height, stream.width, stream.pix_fmt = 64, 64, pixel_format
        stream.metadata.update(metadata)
        for level in (0, 60, 120):
            picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), level, np.uint8), format="rgb24")
            container.mux(stream.encode(picture.reformat(format=pixel_format)))
        container.mux(stream.encode())
    return path


def seen(path):
    with open_film_file(path) as opened:
        return opened.look


def tags(path):
    with av.open(path) as container:
        return {name.lower(): text for name, text in container.metadata.items()}


# ---------------------------------------------------------------- high dynamic range


@pytest.fixture(scope="module")
def hdr(tmp_path_factory):
    params = f"log-level=none:master-display={DISPLAY}:max-cll=1000,400"
    path = tmp_path_factory.mktemp("hdr") / "in.mkv"
    return film(path, "libx265", "yuv420p10le", **{"x265-params": params, "preset": "ultrafast"})


def test_mastering_display_and_light_level_are_read(hdr):
    assert (seen(hdr).mastering, seen(hdr).light) == (P3, (1000, 400))


@pytest.mark.parametrize(("codec", "ending"), [("hevc", ".mp4"), ("hevc", ".mkv"), ("h264", ".mov")])
def test_mastering_display_and_light_level_are_kept(hdr, tmp_path, codec, ending):
    early, _ = make(hdr, tmp_path / f"out{ending}", codec=codec, preset="ultrafast")
    assert not any("left out" in note for note in early)
    after = seen(tmp_path / f"out{ending}")
    assert after.light == (1000, 400)
    for name in ("red", "green", "blue", "white"):
        assert getattr(after.mastering, name) == pytest.approx(getattr(P3, name), abs=1e-4)
    assert float(after.mastering.brightest) == 1000 and float(after.mastering.darkest) == pytest.approx(1e-4, abs=3e-5)


def test_av1_is_told_in_decimals_beside_its_other_options(hdr):
    encoding, _ = choose_encoding(seen(hdr), ".mp4", "av1", None, None, None)
    fixed, display, light = dict(encoding.options)["svtav1-params"].rsplit(":", 2)
    assert fixed.startswith("tune=0") and light == "content-light=1000,400"
    places = "G(0.265000,0.690000)B(0.150000,0.060000)R(0.680000,0.320000)WP(0.312700,0.329000)"
    assert display == f"mastering-display={places}L(1000.000000,0.000100)"


def test_what_an_encoder_cannot_state_is_told_before(hdr, tmp_path):
    early, _ = make(hdr, tmp_path / "out.webm", codec="vp9", preset="8")
    lost = "mastering display, light level (MaxCLL)"
    assert f"left out, cannot be stated in .webm with libvpx-vp9: {lost}" in early


# ---------------------------------------------------------------- two views, all around


@pytest.mark.parametrize("mode", STEREO_MODES["matroska"])
def test_two_views_in_one_picture_stay_so_where_the_file_can_say_it(tmp_path, mode):
    source = film(tmp_path / "in.mkv", metadata={"stereo_mode": mode})
    assert seen(source).stereo == mode
    for ending, codec in ((".mkv", "libx264"), (".webm", "libvpx-vp9"), (".mp4", "libx264")):
        early, _ = make(source, tmp_path / f"out{ending}")
        if mode in STEREO_MODES.get(CONTAINERS[ending], ()):
            assert early == [] and seen(tmp_path / f"out{ending}").stereo == mode
        else:
            assert early == [f"left out, cannot be stated in {ending} with {codec}: 3D layout (stereo_mode)"]


def all_around(path):
    """Have an MP4 file, its index at the end, say that it is a 360-degree film, as cameras do."""
    xml = (
        b'<rdf:SphericalVideo xmlns:rdf="x" xmlns:GSpherical="y"><GSpherical:Spherical>true</GSpherical:Spherical>'
        b"<GSpherical:Stitched>true</GSpherical:Stitched>"
        b"<GSpherical:StitchingSoftware>camera</GSpherical:StitchingSoftware>"
        b"<GSpherical:ProjectionType>equirectangular</GSpherical:ProjectionType></rdf:SphericalVideo>"
    )
    atom = b"uuid" + bytes.fromhex("ffcc8263f8554a938814587a02521fdd") + xml
    atom = struct.pack(">I", len(atom) + 4) + atom
    data = bytearray(path.read_bytes())
    moov = data.rindex(b"moov") - 4
    trak = data.index(b"trak", moov) - 4
    size = int.from_bytes(data[trak : trak + 4], "big")
    for outer in (moov, trak):
        data[outer : outer + 4] = (int.from_bytes(data[outer : outer + 4], "big") + len(atom)).to_bytes(4, "big")
    data[trak + size : trak + size] = atom
    path.write_bytes(data)
    return path


def test_a_film_all_around_is_told_to_lose_that(tmp_path):
    source = all_around(film(tmp_path / "in.mp4"))
    early, _ = make(source, tmp_path / "out.mp4")
    assert early == ["left out, cannot be stated in .mp4 with libx264: 360-degree projection"]


# ---------------------------------------------------------------- tags


PHONE = {
    "com.apple.quicktime.make": "Apple",
    "com.apple.quicktime.model": "iPhone 15",
    "com.apple.quicktime.creationdate": "2026-05-01T12:00:00+0200",
    "com.apple.quicktime.location.ISO6709": "+48.8577+002.2950+035.000/",
}


def phone_film(path):
    with av.open(path, "w", container_options={"movflags": "use_metadata_tags"}) as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = 16, 16, "yuv420p"
        container.metadata.update(PHONE | {"title": "Paris"})
        for _ in range(2):
            container.mux(stream.encode(av.VideoFrame(16, 16, "yuv420p")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("ending", [".mp4", ".mov", ".mkv", ".webm"])
def test_what_a_phone_writes_is_kept(tmp_path, ending):
    source = phone_film(tmp_path / "in.mov")
    assert tags(source).items() >= {name.lower(): text for name, text in PHONE.items()}.items()
    early, notes = make(source, tmp_path / f"out{ending}")
    assert early == notes == []
    kept = {name.lower(): text for name, text in (PHONE | {"title": "Paris"}).items()}
    assert tags(tmp_path / f"out{ending}").items() >= kept.items()


def test_tags_without_a_place_are_named(tmp_path):
    source = write_source(tmp_path / "in.mkv", tags={"title": "Paris", "DIRECTOR": "someone", "MOOD": "blue"})
    early, notes = make(source, tmp_path / "out.mp4")
    assert early == notes == ["tags left out, mp4 has no place for them: DIRECTOR, MOOD"]
    assert tags(tmp_path / "out.mp4")["title"] == "Paris"
    assert make(source, tmp_path / "out.mkv") == ([], [])
    assert tags(tmp_path / "out.mkv").items() >= {"director": "someone", "mood": "blue"}.items()


@pytest.mark.parametrize("name", ["still.mov", "still.mkv"])
def test_what_is_said_of_the_film_is_kept_and_not_what_is_said_of_a_still_before_it(tmp_path, name):
    source = with_another_stream(tmp_path / name, True, hold=30)
    target = tmp_path / f"out-{name}"
    make(source, target)
    said = "title" if name.endswith("mkv") else "handler_name"
    with av.open(target) as made:
        assert made.streams.video[0].metadata[said] == "film"
    assert [float(hold_of_last(path)) for path in (source, target)] == pytest.approx(2 * [30 / 24], abs=0.001)


# ---------------------------------------------------------------- how it ends


def animation(path, delays=(200, 200, 3000), **options):
    pictures = [Image.fromarray(np.full((16, 16, 3), 80 * number, np.uint8)) for number in range(len(delays))]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=list(delays), **options)
    return path


def durations(path):
    """In milliseconds."""
    with Image.open(path) as image:
        found = []
        for number in range(image.n_frames):
            image.seek(number)
            found.append(image.info["duration"])
        return found


@pytest.mark.parametrize("options", [{}, {"loop": 0}, {"loop": 3}], ids=str)
def test_a_gif_holds_its_last_picture_and_is_played_as_often(tmp_path, options):
    source = animation(tmp_path / "in.gif", **options)
    make(source, tmp_path / "out.gif")
    assert durations(tmp_path / "out.gif") == [100, 100, 100, 100, 3000]
    with Image.open(tmp_path / "out.gif") as image:
        assert image.info.get("loop") == options.get("loop")


@pytest.mark.parametrize(("plays", "loops"), [(0, 0), (1, -1), (4, 3)])
def test_an_animation_that_counts_how_often_it_is_played_in_all(tmp_path, plays, loops):
    assert gif_loops(animation(tmp_path / "in.png", loop=plays)) == loops


def test_what_is_no_animation_is_played_for_ever(tmp_path):
    assert gif_loops(film(tmp_path / "in.mp4")) == 0


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".mov"])
def test_a_film_holds_its_last_picture(tmp_path, ending):
    make(animation(tmp_path / "in.gif"), tmp_path / f"out{ending}")
    assert hold_of_last(tmp_path / f"out{ending}") == 3
    make(tmp_path / f"out{ending}", tmp_path / f"again{ending}")
    assert hold_of_last(tmp_path / f"again{ending}") == 3


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".ts", ".avi", ".mov", ".webm"])
def test_no_hold_is_seen_in_a_film_of_a_constant_rate(tmp_path, ending):
    """With pictures coded out of order, too."""
    codec = {".webm": "libvpx-vp9", ".avi": "mpeg4"}.get(ending, "libx264")
    with av.open(tmp_path / f"in{ending}", "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(24):
            noise = np.random.default_rng(number // 4).integers(0, 255, (64, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.roll(noise, number, 1), format="rgb24")))
        container.mux(stream.encode())
    assert hold_of_last(tmp_path / f"in{ending}") in (0, Fraction(1, 10))


def test_a_film_of_a_constant_rate_ends_as_it_did(tmp_path):
    make(film(tmp_path / "in.mp4"), tmp_path / "out.mp4")
    assert hold_of_last(tmp_path / "out.mp4") == Fraction(1, 20)


def test_a_target_rate_leaves_the_hold_as_long(tmp_path):
    make(animation(tmp_path / "in.gif"), tmp_path / "out.mp4", fps=Fraction(20))
    with av.open(tmp_path / "out.mp4") as made:
        stream = made.streams.video[0]
        assert stream.duration * stream.time_base == pytest.approx(3.4, abs=0.03)
