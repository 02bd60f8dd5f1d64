"""What is sent: frames that move and differ, in bodies that the server's own readers take."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import media
from eden_client.cli.demo_clip import draw_clip
from loadtest._film import SENT_AS, Film, Scene
from loadtest._options import Asked, numbers


def test_frames_differ_move_and_are_the_same_on_every_run():
    frames = [Scene(1, 64, 96).frame(i) for i in range(40)]
    assert all(frame.shape == (64, 96, 3) and frame.dtype == np.uint8 for frame in frames)
    assert all((a != b).mean() > 0.3 for a, b in itertools.pairwise(frames))
    assert len({frame.tobytes() for frame in frames}) == 40
    assert np.array_equal(frames[7], Scene(1, 64, 96).frame(7))
    assert not np.array_equal(frames[7], Scene(2, 64, 96).frame(7))


def test_frames_are_as_hard_to_compress_as_drawn_pictures():
    ours = len(media.encode_image(Scene(1, 256, 448).frame(0), "png"))
    drawn = len(media.encode_image(next(draw_clip()), "png"))
    assert 0.5 * drawn < ours < 2 * drawn


@pytest.mark.parametrize("sent_as", SENT_AS)
def test_each_clip_holds_its_frames_in_a_body_and_in_fields(sent_as):
    film = Film.draw(Scene(1, 48, 64), 6, sent_as)
    clips = list(film.clips(3, most=24))
    assert len(clips) == 4
    assert len({clip.body for clip in clips}) == 4
    for clip in clips:
        assert (clip.count, clip.size) == (3, (48, 64))
    if sent_as in ("png", "jpeg", "webp"):
        assert list(clips[0].fields) == ["frame0", "frame1", "frame2"]
        assert all(picture in clips[0].body for picture in clips[0].fields.values())
        if sent_as != "jpeg":
            first = media.decode_image(clips[1].fields["frame0"], max_pixels=10**6)
            assert np.abs(first.astype(int) - film.frames[1]).mean() < 6
    elif sent_as == "npy":
        frames = media.decode_npy(clips[3].fields["data"], max_pixels=10**6, max_frames=10)
        assert np.array_equal(frames, np.stack(film.frames[3:]))
    else:
        with media.open_video(clips[0].body) as video:
            assert len(list(video.frames())) == 3


def test_no_more_clips_than_wanted_and_none_longer_than_the_film():
    film = Film.draw(Scene(1, 32, 32), 10, "npy")
    assert len(list(film.clips(2, most=4))) == 4
    with pytest.raises(ValueError, match="holds no clip of 11"):
        next(film.clips(11, most=4))
    with pytest.raises(ValueError, match="not 'bmp'"):
        Film.draw(Scene(1, 32, 32), 1, "bmp")


class Options:
    frame_size, clip, rate, send, answer, film_frames = "48x64", 8, 2.0, "png", "mp4", 4
    route = "fused"


def test_options_are_read_and_the_film_is_long_enough():
    asked = Asked.of(Options())
    assert (asked.size, asked.film_frames, asked.streamed) == ((48, 64), 16, "png")
    assert asked.path == "/predictions/eden_fused"


@pytest.mark.parametrize(
    ("option", "value"), [("clip", 1), ("rate", -1.0), ("frame_size", "48"), ("frame_size", "axb")]
)
def test_senseless_options_are_named(option, value):
    options = Options()
    setattr(options, option, value)
    with pytest.raises(ValueError, match=f"--{option.replace('_', '-')}"):
        Asked.of(options)


def test_two_numbers():
    assert numbers("3:1", ":", "--mix") == (3, 1)
