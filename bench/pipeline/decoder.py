"""The decoder's process of `bench.pipeline`, which draws one clip while it takes the next."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any

import torch

from bench.model.measuring import a_clip
from eden import DitDecoder, Encoder, EncoderOutput
from eden.streams import new_stream
from handoff import Handoff, open_handoff


def film(size: tuple[int, int], frames: int) -> torch.Tensor:
    """`frames` distinct frames, uint8 [N,3,H,W], in the host's memory."""
    return torch.cat([a_clip(size, seed) for seed in range((frames + 1) // 2)])[:frames]


def clips_of(frames: torch.Tensor, length: int) -> Iterator[torch.Tensor]:
    """A film in clips of `length` frames, as a client cuts it: each begins with the last frame of the one before."""
    for start in range(0, len(frames) - 1, length - 1):
        yield frames[start : start + length]


def decode(args: Any, device: str, tickets: Any, pipe: Connection) -> None:
    """A decoder's process: row after row, each begun by settings that come by `pipe`, until a None comes.

    It answers "ready"; then, for each row, with its own rate; with the pairs of each clip drawn; at the end of the
    first films with the largest difference from what it drew by itself; once told to go on, with the pairs of each
    clip again; and with its own rate again.
    """
    decoder = DitDecoder.load(args.checkpoint, device, args.precision)
    encoder = Encoder.load(args.checkpoint, device, args.precision)
    outputs = [encoder.encode(clip) for clip in clips_of(film(args.size, args.frames), args.clip)]
    del encoder
    wanted = [decoder.interpolate([output], as_uint8=True)[0] for output in outputs]
    own_rate(decoder, outputs, min(0.5, args.seconds))
    stream = new_stream(decoder.device)
    pipe.send("ready")
    while (settings := pipe.recv()) is not None:
        pipe.send(own_rate(decoder, outputs, args.seconds))
        with open_handoff(settings, device) as handoff:
            apart = 0.0
            for number, between in draw(decoder, handoff, tickets, stream):
                pipe.send(len(between))
                apart = max(apart, difference(between, wanted[number]))
            pipe.send(apart)
            pipe.recv()  # an end for each decoder is in the queue: none may go on before all have had theirs
            for _, between in draw(decoder, handoff, tickets, stream):
                pipe.send(len(between))
        pipe.send(own_rate(decoder, outputs, args.seconds))


def draw(
    decoder: DitDecoder, handoff: Handoff, tickets: Any, stream: torch.cuda.Stream | None
) -> Iterator[tuple[int, torch.Tensor]]:
    """The clips of a queue of (number, ticket), in order, until a None comes: each one's number and frames.

    While a clip is drawn, the next is taken on `stream`, if its ticket has come. One thread does both: a GPU needs none
    once its work is launched, and a second thread would hold Python's lock just when the next clip is to be launched.
    Raises what `Handoff.take` raises; the clip before is then drawn, but not returned.
    """

    def taken(entry: tuple[int, bytes] | None) -> tuple[int, EncoderOutput] | None:
        return entry and (entry[0], take(handoff, entry[1], stream))

    clip = taken(tickets.get())
    while clip is not None:
        number, output = clip
        (between,) = decoder.begin([output], as_uint8=True)
        try:
            ahead = [taken(tickets.get_nowait())]
        except queue.Empty:
            ahead = []
        finally:
            decoder.finish()
        yield number, between
        clip = ahead[0] if ahead else taken(tickets.get())


def take(handoff: Handoff, ticket: bytes, stream: torch.cuda.Stream | None) -> EncoderOutput:
    """Take on `stream`, beside the work of the current stream, which waits for the output and may then use it."""
    with torch.cuda.stream(stream):
        output = handoff.take(ticket)
    if stream is not None:
        user = torch.cuda.current_stream(stream.device)
        user.wait_stream(stream)
        for tensor in output.tensors().values():  # `stream` gets their memory back once `user` is done with them
            tensor.record_stream(user)
    return output


def own_rate(decoder: DitDecoder, outputs: Sequence[EncoderOutput], seconds: float) -> float:
    """Pairs per second of a decoder by itself, measured for `seconds`."""
    started, drawn = time.perf_counter(), 0
    while (spent := time.perf_counter() - started) < seconds or not drawn:
        for output in outputs:
            (between,) = decoder.interpolate([output], as_uint8=True)
            drawn += len(between)
    return drawn / spent


def difference(frames: torch.Tensor, wanted: torch.Tensor) -> float:
    """The largest root mean square difference of a frame of two clips, uint8 [K,3,H,W]; 0: they are equal."""
    if torch.equal(frames, wanted):
        return 0.0
    return float((frames.float() - wanted.float()).square().mean(dim=(1, 2, 3)).max().sqrt())
