"""Films with what people's files hold: damage, empty samples, covers, changes on the way."""

from __future__ import annotations

import random
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream

SIZE = (48, 64)
RATE = 24


def drawings(count: int, size: tuple[int, int] = SIZE) -> list[np.ndarray]:
    """Pictures of which each is plainly another."""
    down, across = np.mgrid[0 : size[0], 0 : size[1]]
    made = [np.stack([across * 3 + 20 * i, down * 4, across + down + 15 * i], -1) % 256 for i in range(count)]
    return [each.astype(np.uint8) for each in made]


def coded(
    codec: str, frames: Sequence[np.ndarray], pixel_format: str, options: dict[str, str] | None = None
) -> tuple[av.VideoCodecContext, list[av.Packet]]:
    """The packets of frames [H, W, 3 or 4], with times in pictures."""
    context = av.CodecContext.create(codec, "w")
    context.height, context.width = frames[0].shape[:2]
    context.pix_fmt, context.time_base, context.framerate = pixel_format, Fraction(1, RATE), RATE
    context.options = options or {}
    packets = []
    for number, pixels in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(pixels, format="rgba" if pixels.shape[2] == 4 else "rgb24")
        frame = frame.reformat(format=pixel_format, threads=1)
        frame.pts, frame.time_base = number, Fraction(1, RATE)
        packets += context.encode(frame)
    return context, packets + context.encode(None)


def film(
    path: Path,
    codec: str = "libx264",
    frames: Sequence[np.ndarray] = (),
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,
) -> Path:
    """A film of these frames, by default of 24 drawings with a key frame in the middle."""
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=RATE, options={"g": "12"} | (options or {}))
        frames = frames or drawings(24)
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], pixel_format
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgba" if pixels.shape[2] == 4 else "rgb24")
            frame = frame.reformat(format=pixel_format, threads=1)
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def damaged(path: Path, numbers: Sequence[int], how: str = "overwritten") -> Path:
    """The same film with some of its samples spoilt; they are counted as they lie in the file."""
    data = bytearray(path.read_bytes())
    with av.open(path) as container:
        samples = [(packet.pos, bytes(packet)) for packet in container.demux(video=0) if packet.size]
    for number in numbers:
        place, payload = samples[number]
        at = data.index(payload, place)
        spoilt = {"overwritten": b"\xaa" * len(payload), "bad length": b"\x7f\xff\xff\xff"}[how]
        data[at : at + len(spoilt)] = spoilt
    (path.parent / f"damaged-{path.name}").write_bytes(data)
    return path.parent / f"damaged-{path.name}"


def with_changed_bits(path: Path, numbers: Sequence[int], seed: int = 0) -> Path:
    """The same film with three bits changed within each of these samples: hardly a decoder takes that for an error."""
    chance = random.Random(seed)
    data = bytearray(path.read_bytes())
    with av.open(path) as container:
        samples = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    for place, size in (samples[number] for number in numbers):
        for _ in range(3):
            data[place + chance.randrange(16, size)] ^= 1 << chance.randrange(8)
    (path.parent / f"changed-{path.name}").write_bytes(data)
    return path.parent / f"changed-{path.name}"


def joined(path: Path, parts: Sequence[tuple[str, Sequence[np.ndarray], dict[str, str]]]) -> Path:
    """One stream of what several encoders made: codec, frames, options; of the size that the first states."""
    with av.open(path, "w") as container:
        stream: VideoStream | None = None
        start = 0
        for codec, frames, options in parts:
            context, packets = coded(codec, frames, "yuvj420p" if codec == "mjpeg" else "yuv420p", options)
            if stream is None:
                stream = container.add_stream(codec, rate=RATE)
                stream.height, stream.width, stream.pix_fmt = context.height, context.width, context.pix_fmt
                container.start_encoding()
            for packet in packets:
                packet.pts, packet.dts = packet.pts + start, packet.dts + start
                packet.time_base, packet.stream = Fraction(1, RATE), stream
                container.mux(packet)
            start += len(frames)
    return path


def with_empty_samples(path: Path, numbers: Sequence[int], codec: str = "mpeg4") -> Path:
    """A film of which some samples hold nothing: the picture stays."""
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=RATE)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        container.start_encoding()
        for number, packet in enumerate(coded(codec, drawings(8), "yuv420p")[1]):
            if number in numbers:
                empty = av.Packet(0)
                empty.pts, empty.dts, empty.duration = packet.pts, packet.dts, packet.duration
                packet = empty
            packet.time_base, packet.stream = Fraction(1, RATE), stream
            container.mux(packet)
    return path


def with_another_stream(
    path: Path, first: bool, disposition: av.stream.Disposition | None = None, hold: int = 1
) -> Path:
    """A film with a still of another size, before or behind it, each named; the last picture is shown `hold` times."""
    (still,) = coded("mjpeg", drawings(1, (96, 96)), "yuvj420p")[1]
    with av.open(path, "w") as container:
        for kind in ("still", "film") if first else ("film", "still"):
            stream = container.add_stream("mjpeg", rate=RATE)
            stream.height, stream.width = (96, 96) if kind == "still" else SIZE
            stream.pix_fmt = "yuvj420p"
            stream.metadata.update(title=kind, handler_name=kind)
            if kind == "still":
                cover = stream
                if disposition:
                    cover.disposition = disposition
            else:
                pictures = stream
        container.start_encoding()
        still.stream, still.time_base = cover, Fraction(1, RATE)
        container.mux(still)
        packets = coded("mjpeg", drawings(6), "yuvj420p")[1]
        packets[-1].duration = hold
        for packet in packets:
            packet.stream, packet.time_base = pictures, Fraction(1, RATE)
            container.mux(packet)
    return path


def cropped(path: Path, left: int, top: int, right: int, bottom: int) -> Path:
    """A Matroska film that states edges not to be shown, in place of its colours, which leave room for that."""
    with av.open(path, "w") as container:
        stream = container.add_stream("ffv1", rate=RATE)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        context = stream.codec_context
        context.color_primaries = context.color_trc = context.colorspace = context.color_range = 1
        for pixels in drawings(4):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    data = path.read_bytes()
    track = data.index(b"V_FFV1")  # random numbers stand before it
    at = data.index(b"\x55\xb0", track)  # the element of colours, its length in a byte
    length = 3 + (data[at + 2] & 0x7F)
    edges = {b"\x54\xcc": left, b"\x54\xbb": top, b"\x54\xdd": right, b"\x54\xaa": bottom}
    stated = b"".join(name + b"\x81" + bytes([value]) for name, value in edges.items())
    void = length - len(stated)
    path.write_bytes(data[:at] + stated + b"\xec" + bytes([0x80 | (void - 2)]) + bytes(void - 2) + data[at + length :])
    return path
