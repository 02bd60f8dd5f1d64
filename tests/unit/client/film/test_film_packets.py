"""Files of which a reader learns on the way that they have more streams than it was told of at the start."""

from __future__ import annotations

import av
import numpy as np
import pytest

from eden_client.film.read.film_file import open_film_file

FRAMES, SIZE = 12, (512, 512)
PARTS = (0, 0, 6, 0)
"""Sounds of each part. FFmpeg looks at more than the first, and at the end, before it says which streams there are.
Which number PyAV takes for a stream that was asked for is a matter of chance: with six there is always one."""


@pytest.fixture
def late_sound(tmp_path):
    """MPEG-TS by cat: pictures with sound amid pictures alone."""
    parts = [recording(tmp_path / f"{number}.ts", sounds) for number, sounds in enumerate(PARTS)]
    path = tmp_path / "late.ts"
    path.write_bytes(b"".join(parts))
    with av.open(path) as container:
        assert [stream.type for stream in container.streams] == ["video"]
    return path


def recording(path, sounds):
    """Noise, which takes many bytes."""
    noise = np.random.default_rng(0).integers(0, 256, (FRAMES, *SIZE, 3), np.uint8)
    with av.open(path, "w") as container:
        video = container.add_stream("mpeg2video", rate=25)
        video.height, video.width, video.pix_fmt = *SIZE, "yuv420p"
        video.codec_context.qmin = video.codec_context.qmax = 1
        video.bit_rate = 10**9
        tracks = [container.add_stream("mp2", rate=48_000, layout="mono") for _ in range(sounds)]
        for pixels in noise:
            container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        for track in tracks:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.int16), format="s16", layout="mono")
            silence.sample_rate, silence.pts = 48_000, 0
            container.mux(track.encode(silence))
        for stream in (video, *tracks):
            container.mux(stream.encode())
    return path.read_bytes()


def test_a_film_ends_where_its_pictures_end(late_sound):
    with open_film_file(late_sound) as film:
        assert len(list(film.pictures())) == len(PARTS) * FRAMES
