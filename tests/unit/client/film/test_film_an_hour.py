"""A long film with sound: it completes, and its clicks still come with its flashes at its end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
import pytest

from bench.film.instant import Instant
from eden_client.film.order import Order
from eden_client.film.run import interpolate_film
from tests.unit.client.film.drawing import Silent

RATE, SAMPLES = 10, 8_000
"""Pictures and samples of sound a second, of the source."""
DARK, WHITE = 40, 255


def write_film(path, moments: list[int], length: int) -> None:
    """A dark film of `length` seconds with a white picture and a click at each of these, in seconds."""
    with av.open(str(path), "w") as film:
        video = film.add_stream("libx264", RATE, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = film.add_stream("aac", SAMPLES, layout="mono")
        for second in range(length):
            for number in range(RATE):
                picture = np.full((48, 64, 3), DARK + number, np.uint8)
                if number == 0 and second in moments:
                    picture[:] = WHITE
                film.mux(video.encode(av.VideoFrame.from_ndarray(picture)))
            wave = np.zeros((1, SAMPLES), np.float32)
            if second in moments:
                wave[0, :80] = np.sin(np.arange(80))
            frame = av.AudioFrame.from_ndarray(wave, "fltp", "mono")
            frame.sample_rate, frame.pts = SAMPLES, second * SAMPLES
            film.mux(sound.encode(frame))
        film.mux(video.encode())
        film.mux(sound.encode())


def flashes(path) -> Iterator[float]:
    """When white begins, in seconds."""
    with av.open(str(path)) as film:
        before = False
        for frame in film.decode(video=0):
            white = frame.to_ndarray(format="gray").mean() > (DARK + WHITE) / 2
            if white and not before:
                yield frame.time
            before = white


def clicks(path) -> Iterator[float]:
    """When a click begins after silence, in seconds."""
    with av.open(str(path)) as film:
        last = -1.0
        for frame in film.decode(audio=0):
            for sample in np.flatnonzero(np.abs(frame.to_ndarray()[0]) > 0.3):
                time = frame.time + sample / frame.sample_rate
                if time > last + 0.5:
                    yield time
                last = time


@pytest.mark.slow
@pytest.mark.parametrize(
    ("length", "every"),
    [
        (60, 10),
        pytest.param(
            3600,
            60,
            marks=[
                pytest.mark.timeout(3600),
                pytest.mark.skipif(not os.environ.get("EDEN_BENCH"), reason="takes minutes: EDEN_BENCH=1"),
            ],
        ),
    ],
)
def test_sound_and_pictures_are_in_step_to_the_end(tmp_path, length, every):
    moments = [*range(every, length, every), length - 1]
    write_film(tmp_path / "in.mp4", moments, length)
    order = Order(str(tmp_path / "in.mp4"), str(tmp_path / "out.mp4"), cuts=None, preset="ultrafast")
    summary = interpolate_film(order, Instant(), Silent())
    assert summary.frames_out == 2 * length * RATE - 1
    seen, heard = list(flashes(tmp_path / "out.mp4")), list(clicks(tmp_path / "out.mp4"))
    assert len(seen) == len(heard) == len(moments)
    frame = Fraction(1, 2 * RATE)
    assert max(abs(picture - moment) for picture, moment in zip(seen, moments, strict=True)) < 0.001
    apart = [abs(picture - click) for picture, click in zip(seen, heard, strict=True)]
    took, most, last = summary.seconds["total"], 1000 * max(apart), 1000 * apart[-1]
    print(f"{length} s: made in {took:.0f} s; {most:.1f} ms apart at most, {last:.1f} at the end")
    assert max(apart) < frame
