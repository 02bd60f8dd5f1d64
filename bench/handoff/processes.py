"""The two ends that `bench.handoff` measures: an encoder's and a decoder's process that only hand over.

Clocks: `time.perf_counter` is one clock for all processes of a Linux machine.
"""

from __future__ import annotations

import multiprocessing
import queue
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from eden import EdenConfig, EncoderOutput, padded_grid
from handoff import Handoff, HandoffSettings, OverCapacity, open_handoff

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["torch", "handoff", __name__])
WARM_UP = 12
"""Hand-offs before the first one that counts: by then every pooled buffer has been used once."""
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Job:
    """One clip of `frames` frames, handed over pair by pair or at once, again and again."""

    size: tuple[int, int]
    dtype: str
    frames: int = 2
    pair_by_pair: bool = False
    repeat: int = 30
    warm_up: int = WARM_UP
    seconds: float = 3.0
    """most seconds of the job; at least three hand-offs are measured"""


def make_clip(size: tuple[int, int], frames: int, dtype: str, device: str) -> EncoderOutput:
    """Random numbers in the shapes of an encoder's output, for the published configuration."""
    config = EdenConfig()
    grid = padded_grid(*size, config.patch_size)
    shape = (frames, grid[0] * grid[1], config.hidden_dim)
    generator = torch.Generator().manual_seed(0)
    for_dit, for_decoder = (torch.randn(shape, generator=generator).to(DTYPES[dtype]) for _ in range(2))
    mean, std, difference = (torch.randn(n, generator=generator) for n in (frames, frames, frames - 1))
    return EncoderOutput(for_dit, for_decoder, mean, std, difference, grid, size).to(device)


def nbytes(output: EncoderOutput) -> int:
    """Bytes of an output's tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in output.tensors().values())


def settle(device: str) -> None:
    """Wait until the GPU, if `device` is one, has done its work."""
    if device != "cpu":
        torch.cuda.synchronize(device)


class Memory:
    """The peak of this process's memory since it was made, beyond what was in use then."""

    def __init__(self, device: str) -> None:
        self._device = device
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        self._host = _status("VmRSS")
        self._gpu = self._gpu_used()

    def peak(self) -> dict[str, int]:
        """Bytes of the host and of the GPU. Shared pages count in each process that has touched them."""
        return {"host": _status("VmHWM") - self._host, "gpu": self._gpu_used() - self._gpu}

    def _gpu_used(self) -> int:
        if self._device == "cpu":
            return 0
        free, total = torch.cuda.mem_get_info(self._device)
        return total - free


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))


def encode(settings: HandoffSettings, device: str, threads: int, decoder: Connection, parent: Connection) -> None:
    """The encoder's process: it does the parent's jobs one after the other."""
    torch.set_num_threads(threads)
    with open_handoff(settings, device) as handoff:
        while (job := parent.recv()) is not None:
            try:
                parent.send(_do(job, handoff, device, decoder))
            except Exception as error:  # told in the report: one kind that fails ends no other
                parent.send({"error": f"{type(error).__name__}: {error}"})
    decoder.send_bytes(b"")


def _do(job: Job, handoff: Handoff, device: str, decoder: Connection) -> dict[str, Any]:
    clip = make_clip(job.size, job.frames, job.dtype, device)
    outputs = list(clip) if job.pair_by_pair else [clip]
    settle(device)
    memory = Memory(device)
    decoder.send_bytes(b"begin")
    rounds: list[list[tuple[float, float, float]]] = []
    for most, least in ((job.warm_up, 1), (job.repeat, 3)):
        rounds.clear()
        end = time.perf_counter() + job.seconds
        while len(rounds) < least or (len(rounds) < most and time.perf_counter() < end):
            rounds.append([_hand_over(output, handoff, decoder) for output in outputs])
    decoder.send_bytes(b"end")
    return {
        "rounds": rounds,
        "payload_bytes": sum(map(nbytes, outputs)),
        "encoder_memory": memory.peak(),
        "decoder_memory": decoder.recv(),
    }


def _hand_over(output: EncoderOutput, handoff: Handoff, decoder: Connection) -> tuple[float, float, float]:
    """Hand over once. Returns the seconds of put, of sending the ticket, and of take."""
    began = time.perf_counter()
    ticket = handoff.put(output)
    put = time.perf_counter()
    decoder.send_bytes(ticket)
    answer = decoder.recv()
    if isinstance(answer, str):
        raise RuntimeError(answer)
    came, taken = answer
    return put - began, came - put, taken - came


def decode(settings: HandoffSettings, device: str, threads: int, encoder: Connection) -> None:
    """The decoder's process: it takes the payloads of the tickets that come."""
    torch.set_num_threads(threads)
    memory = None
    with open_handoff(settings, device) as handoff:
        while ticket := encoder.recv_bytes():
            came = time.perf_counter()
            if ticket == b"begin":
                memory = Memory(device)
            elif ticket == b"end":
                assert memory is not None
                encoder.send(memory.peak())
            else:
                encoder.send(_take(handoff, ticket, came))


def _take(handoff: Handoff, ticket: bytes, came: float) -> tuple[float, float] | str:
    try:
        output = handoff.take(ticket)  # complete, on the device too, when it returns
        taken = time.perf_counter()
        del output
        return came, taken
    except Exception as error:  # the encoder's process reports it
        return f"{type(error).__name__}: {error}"


def in_one_process(settings: HandoffSettings, job: Job, devices: tuple[str, str]) -> dict[str, Any]:
    """Do a job by the kind `in_process`, with both halves in this process."""
    clip = make_clip(job.size, job.frames, job.dtype, devices[0])
    outputs = list(clip) if job.pair_by_pair else [clip]
    rounds = []
    with open_handoff(settings, devices[1]) as handoff:
        for _ in range(job.warm_up + job.repeat):
            times = []
            for output in outputs:
                began = time.perf_counter()
                ticket = handoff.put(output)
                put = time.perf_counter()
                taken = handoff.take(ticket)
                settle(devices[1])
                times.append((put - began, 0.0, time.perf_counter() - put))
                del taken
            rounds.append(times)
    return {"rounds": rounds[job.warm_up :], "payload_bytes": sum(map(nbytes, outputs))}


def flood(settings: HandoffSettings, device: str, size: tuple[int, int], tickets: Any, stop: Any) -> None:
    """Put as fast as there is room, until `stop` is set."""
    torch.set_num_threads(1)
    output = make_clip(size, 2, "fp32", device)
    with open_handoff(settings, device) as handoff:
        while not stop.is_set():
            try:
                tickets.put(handoff.put(output))
            except OverCapacity:
                time.sleep(0.0002)
        time.sleep(1)  # whoever holds a ticket still may take it


def drain(settings: HandoffSettings, device: str, tickets: Any, stop: Any, counts: Connection) -> None:
    """Take as fast as tickets come. Sends how many there were, and in how many seconds."""
    torch.set_num_threads(1)
    with open_handoff(settings, device) as handoff:
        moments: list[float] = []
        for ticket in iter(tickets.get, None):
            handoff.take(ticket)
            break
        counts.send("ready")
        while not stop.is_set():
            for ticket in _waiting(tickets):
                output = handoff.take(ticket)
                settle(device)
                moments.append(time.perf_counter())
                del output
        counts.send(moments)


def _waiting(tickets: Any) -> Iterator[bytes]:
    try:
        yield tickets.get(timeout=0.2)
    except queue.Empty:
        return
