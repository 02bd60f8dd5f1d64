"""Measures the model without a server, from frames in host memory to frames in host memory.

fused: a process per GPU with both halves in it. split: a process with the encoder on the first GPU, one with the
decoder on the second, the hand-off between; a second decoder beside the encoder for decoders on both. All of them are
spawned, so that the measuring process holds nothing on a GPU.
"""

from __future__ import annotations

import multiprocessing
import queue
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
import torch

import media
from bench.pipeline.decoder import take
from bench.topologies import frames as drawn
from bench.topologies.plan import BOTH, FUSED, SPLIT, Work
from eden import DitDecoder, Encoder, EncoderOutput
from eden.streams import new_stream
from handoff import Handoff, HandoffSettings, OverCapacity, open_handoff

PATIENCE = 120.0
"""Seconds that a process may take to answer: kernels are compiled before the first."""
WARM_BATCHES = 4
"""Fewest batches before the measurement: by then graphs are recorded, and the hand-off is connected."""
QUEUED = 4
"""Most batches that wait for a decoder."""
NO_LIMIT = 1 << 40


@dataclass(frozen=True)
class Model:
    """The parameters of every process."""

    checkpoint: Path
    precision: str
    devices: tuple[str, ...]
    """"cuda:0", "cuda:1"; on a CPU "cpu" twice"""
    handoff: str
    """kind of hand-off"""
    seconds: float
    """seconds of each measurement, after half as long and some batches to warm up"""
    threads: int
    """CPU threads per process, for pictures; without a GPU for PyTorch too"""
    folder: Path
    """folder of the frames"""
    works: tuple[Work, ...]


# ------------------------------------------------------------------ whoever measures


def measure_fused(model: Model) -> Generator[dict[str, Any]]:
    """Measure fused: a row per kind of work, for JPEG also one with pictures. Raises RuntimeError: a process failed."""
    spawn = multiprocessing.get_context("spawn")
    begin = spawn.Barrier(len(model.devices))
    with Processes() as processes:
        for device in model.devices:
            processes.start(fused_replica, model, device, begin)
        for work in model.works:
            row = {"pairs_s": sum(processes.answers())}
            if work.format == "jpeg":
                row["with_pictures_pairs_s"] = sum(processes.answers())
            yield _row(FUSED, work, model) | row


def measure_split(model: Model, topologies: Sequence[str]) -> Generator[dict[str, Any]]:
    """Measure split: a row per topology (SPLIT, BOTH) and kind of work. Raises RuntimeError: a process failed."""
    decoders = {SPLIT: model.devices[1:], BOTH: (*model.devices[1:], model.devices[0])}
    spawn = multiprocessing.get_context("spawn")
    stop, tickets = spawn.Event(), spawn.Queue(QUEUED)
    with Processes() as processes:
        for device in decoders[BOTH] if BOTH in topologies else decoders[SPLIT]:
            processes.start(decoding, model, device, tickets)
        encoder = processes.start(encoding, model, tickets, stop)
        processes.answers()
        for topology in topologies:
            count = len(decoders[topology])
            for index, work in enumerate(model.works):
                stop.clear()
                for pipe in (*processes.pipes[:count], encoder):
                    pipe.send((index, count))
                rates = processes.answers(processes.pipes[:count])
                stop.set()
                routes = processes.answers([encoder])[0]
                processes.answers(processes.pipes[:count])  # all of this work is drawn
                yield _row(topology, work, model) | {"pairs_s": sum(rates), "routes": routes}


def _row(topology: str, work: Work, model: Model) -> dict[str, Any]:
    return {"part": "model", "topology": topology, "work": work.name, "batch": work.batch, "threads": model.threads}


class Processes:
    """Processes, with a pipe to each. They end with the block, whatever they are doing."""

    def __init__(self) -> None:
        self._spawn = multiprocessing.get_context("spawn")
        self.pipes: list[Connection] = []
        self._processes: list[Any] = []

    def start(self, function: Callable[..., None], *arguments: Any) -> Connection:
        """Start a process that runs function(*arguments, pipe). Returns this process's end of the pipe."""
        ours, theirs = self._spawn.Pipe()
        process = self._spawn.Process(target=function, args=(*arguments, theirs), daemon=True)
        process.start()
        theirs.close()  # so that the end of a process is the end of its pipe
        self.pipes.append(ours)
        self._processes.append(process)
        return ours

    def answers(self, pipes: Sequence[Connection] | None = None) -> list[Any]:
        """Wait for the next answer of each process. Raises RuntimeError: one has died, or sends nothing."""
        waiting = list(self.pipes if pipes is None else pipes)
        order, answers = list(waiting), {}
        while waiting:
            ready = wait(waiting, PATIENCE)
            if not ready:
                raise RuntimeError(f"a process has sent nothing for {PATIENCE:.0f} s")
            for pipe in [each for each in waiting if each in ready]:
                try:
                    answers[order.index(pipe)] = pipe.recv()
                except EOFError:
                    raise RuntimeError("a process that runs the model has died") from None
                waiting.remove(pipe)
        return [answers[index] for index in range(len(order))]

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.join()
            process.close()
        for pipe in self.pipes:
            pipe.close()


# ------------------------------------------------------------------ fused


def fused_replica(model: Model, device: str, begin: Any, pipe: Connection) -> None:
    """A process with both halves. It sends pairs per second of each kind of work, while all replicas work."""
    _threads(model, device)
    encoder = Encoder.load(model.checkpoint, device, model.precision)
    decoder = DitDecoder.load(model.checkpoint, device, model.precision)
    with ThreadPoolExecutor(model.threads) as threads, ThreadPoolExecutor(2) as beside:
        for work in model.works:
            clips = Clips(work, model.folder, threads)
            for pictures in (False, True) if work.format == "jpeg" else (False,):
                batches = clips.read_ahead(beside) if pictures else clips.batches()
                writing: list[Any] = []

                def draw(
                    batches: Iterator[list[torch.Tensor]] = batches,
                    pictures: bool = pictures,
                    clips: Clips = clips,
                    writing: list[Any] = writing,
                ) -> int:
                    outputs = encoder.encode_clips(next(batches))
                    between = decoder.interpolate(outputs, seeds=[0] * len(outputs), as_uint8=True)
                    if pictures:  # the last batch's pictures are made beside this one's drawing
                        writing.append(beside.submit(clips.write, between))
                        if len(writing) > 1:
                            writing.pop(0).result()
                    return sum(map(len, between))

                for _ in range(WARM_BATCHES):
                    draw()
                _rate(draw, model.seconds / 2)
                begin.wait(PATIENCE)
                pipe.send(_rate(draw, model.seconds))
                for each in writing:
                    each.result()
    pipe.recv()  # until it is ended: an end of its own would look like a fault


def _rate(draw: Callable[[], int], seconds: float) -> float:
    """Pairs per second over at least `seconds`."""
    pairs, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds or not pairs:
        pairs += draw()
    return pairs / spent


class Clips:
    """The batches of one kind of work, again and again."""

    def __init__(self, work: Work, folder: Path, threads: ThreadPoolExecutor) -> None:
        self.work, self._threads = work, threads
        self._frames = drawn.frames(work, folder)
        self._pictures = [media.encode_image(f, "jpeg") for f in self._frames] if work.format == "jpeg" else []

    def batches(self) -> Iterator[list[torch.Tensor]]:
        """Batches without end: clips [K,3,H,W] uint8, as a handler makes them of a request."""
        number = 0
        while True:
            yield [_as_clip(self._frames[at : at + self.work.clip]) for at in drawn.starts(self.work, number)]
            number += 1

    def read_ahead(self, beside: ThreadPoolExecutor) -> Iterator[list[torch.Tensor]]:
        """The same as `batches`, read from picture files: the next batch is read while one is drawn."""
        number, ahead = 1, beside.submit(self._read, 0)
        while True:
            clips = ahead.result()
            ahead = beside.submit(self._read, number)
            yield clips
            number += 1

    def write(self, between: Sequence[torch.Tensor]) -> None:
        """Encode frames as pictures, side by side."""
        flat = [frame for frames in between for frame in frames.permute(0, 2, 3, 1).numpy()]
        list(self._threads.map(lambda frame: media.encode_image(frame, "jpeg"), flat))

    def _read(self, number: int) -> list[torch.Tensor]:
        clip, at = self.work.clip, drawn.starts(self.work, number)
        flat = [picture for start in at for picture in self._pictures[start : start + clip]]
        frames = list(self._threads.map(lambda picture: media.decode_image(picture, max_pixels=NO_LIMIT), flat))
        return [_as_clip(np.stack(frames[i : i + clip])) for i in range(0, len(frames), clip)]


def _as_clip(frames: np.ndarray) -> torch.Tensor:
    """[K,H,W,3] -> [K,3,H,W]."""
    return torch.from_numpy(frames).permute(0, 3, 1, 2)


def _threads(model: Model, device: str) -> None:
    torch.set_num_threads(2 if device.startswith("cuda") else model.threads)


# ------------------------------------------------------------------ split


def encoding(model: Model, tickets: Any, stop: Any, pipe: Connection) -> None:
    """The encoder's process. For each (index of the work, number of decoders): batches until `stop`, then a None for
    each decoder; it answers with the routes that were used."""
    device = model.devices[0]
    _threads(model, device)
    encoder = Encoder.load(model.checkpoint, device, model.precision)
    settings = HandoffSettings(kind=model.handoff, folder=model.folder, max_in_flight=256, budget_bytes=12 << 30)
    with ThreadPoolExecutor(1) as threads, open_handoff(settings, device) as handoff:
        pipe.send("ready")
        while True:
            index, decoders = pipe.recv()
            for batch in Clips(model.works[index], model.folder, threads).batches():
                entry = [_put(handoff, output, stop) for output in encoder.encode_clips(batch)]
                if not _queue(tickets, entry, stop):
                    break
            for _ in range(decoders):
                tickets.put(None)
            pipe.send(sorted({route for event, route in handoff.counters if event == "put"}))


def _put(handoff: Handoff, output: EncoderOutput, stop: Any) -> bytes:
    """Put an output, once there is room. Returns its ticket."""
    while True:
        try:
            return handoff.put(output)
        except OverCapacity:
            stop.wait(0.001)


def _queue(tickets: Any, entry: list[bytes], stop: Any) -> bool:
    """Whether an entry was taken before `stop` was set."""
    while not stop.is_set():
        try:
            tickets.put(entry, timeout=0.05)
            return True
        except queue.Full:
            continue
    return False


def decoding(model: Model, device: str, tickets: Any, pipe: Connection) -> None:
    """A decoder's process. For each work: its pairs per second as soon as they are known, "end" once a None comes."""
    _threads(model, device)
    decoder = DitDecoder.load(model.checkpoint, device, model.precision)
    stream = new_stream(decoder.device)
    settings = HandoffSettings(kind=model.handoff, folder=model.folder)
    with open_handoff(settings, device) as handoff:
        pipe.send("ready")
        while True:
            pipe.recv()
            batches, pairs, told, opened = 0, 0, False, time.perf_counter()
            began = opened
            for drawn_pairs in _draw(decoder, handoff, tickets, stream):
                now = time.perf_counter()
                batches, pairs = batches + 1, pairs + drawn_pairs
                if batches <= WARM_BATCHES or now - opened < model.seconds / 2:
                    began, pairs = now, 0
                elif not told and now - began >= model.seconds:
                    pipe.send(pairs / (now - began))
                    told = True
            pipe.send("end")


def _draw(decoder: DitDecoder, handoff: Handoff, tickets: Any, stream: torch.cuda.Stream | None) -> Iterator[int]:
    """The pairs of each batch of tickets, until a None comes; the next batch is taken while one is drawn."""

    def taken(entry: list[bytes] | None) -> list[EncoderOutput] | None:
        return None if entry is None else [take(handoff, ticket, stream) for ticket in entry]

    outputs = taken(tickets.get())
    while outputs is not None:
        between = decoder.begin(outputs, seeds=[0] * len(outputs), as_uint8=True)
        try:
            ahead = [taken(tickets.get_nowait())]
        except queue.Empty:
            ahead = []
        finally:
            decoder.finish()
        yield sum(map(len, between))
        outputs = ahead[0] if ahead else taken(tickets.get())
