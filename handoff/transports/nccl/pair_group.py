"""A torch.distributed process group of two, beside the process's default group: NCCL between GPUs, gloo on CPUs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import Store  # type: ignore[attr-defined]

from handoff.errors import HandoffError, HandoffTimeout, PeerLost
from handoff.settings import HandoffSettings, is_loopback
from handoff.transports.nccl.control import Control, ControlStore

CONSUMER, PRODUCER = 1, 0
_JOIN_S = 60.0
"""Seconds in which both sides must have found each other: NCCL examines every link of the machine first."""
_SPIN_S = 0.005
_FOR_NCCL = {
    # the watchdog would end the whole worker when the other one dies; here the control connection tells of that
    "TORCH_NCCL_ASYNC_ERROR_HANDLING": "0",
    "TORCH_NCCL_ENABLE_MONITORING": "0",
    "TORCH_NCCL_DUMP_ON_TIMEOUT": "0",
    # the flight recorder walks the Python stack at each call: more than the rest of the call takes
    "TORCH_NCCL_TRACE_BUFFER_SIZE": "0",
    "TORCH_FR_BUFFER_SIZE": "0",
}


class PairGroup:
    """A process group of two, joined and warmed up, so that the first payload has nothing to set up.

    The two sides find each other by `control`, which later shows whether the other side is gone. Raises `PeerLost` or
    `HandoffTimeout`, like its methods.
    """

    def __init__(self, control: Control, rank: int, device: torch.device, settings: HandoffSettings) -> None:
        self._other = 1 - rank
        self._on_gpu = device.type == "cuda"
        self._broken = control.broken
        self._store = ControlStore(control)  # kept: torch.distributed holds what it is for C++, not the Python object
        self._timeout_s = settings.timeout_s
        self._group: Any = None
        self._stream = torch.cuda.Stream(device) if self._on_gpu else None

        def join() -> None:
            self._group = (_nccl if self._on_gpu else _gloo)(self._store, rank, settings)
            first = torch.zeros(1, dtype=torch.uint8, device=device)
            self._move(first, _JOIN_S, lambda: None, sending=rank == PRODUCER)
            self._store.close()

        with control.waiting(_JOIN_S):
            _while_it_lives(join, self._broken)

    def send(self, payload: torch.Tensor, meanwhile: Callable[[], object]) -> None:
        """Send `payload` (uint8) to the other side; on return it may be reused.

        meanwhile: called as soon as it delays nothing: on GPUs while the bytes are being sent.
        """
        self._move(payload, self._timeout_s, meanwhile, sending=True)

    def receive(self, payload: torch.Tensor, meanwhile: Callable[[], object]) -> None:
        """Receive into `payload` (uint8). If `meanwhile` raises, the group must be given up."""
        self._move(payload, self._timeout_s, meanwhile, sending=False)

    def give_up(self) -> None:
        """Leave the group, aborting transfers."""
        if self._group is not None:
            leaving = threading.Thread(target=self._group.abort, daemon=True)
            leaving.start()
            leaving.join(5)
            self._group = None

    def _move(self, payload: torch.Tensor, timeout_s: float, meanwhile: Callable[[], object], *, sending: bool) -> None:
        start = self._group.send if sending else self._group.recv
        try:
            if self._stream is None:
                meanwhile()
                start([payload], self._other, 0).wait(timedelta(seconds=timeout_s))
            else:
                # On a stream of its own: what is sent is complete, it need not wait for the encoder's queued work.
                # What is received into may have been another tensor's a moment ago, which queued work still reads.
                if not sending:
                    self._stream.wait_stream(torch.cuda.current_stream(payload.device))
                with torch.cuda.stream(self._stream):
                    start([payload], self._other, 0).wait()  # queues: this stream goes on once NCCL is done
                    done = self._stream.record_event()
                meanwhile()
                self._poll(done, timeout_s)
        except RuntimeError as error:  # torch.distributed's errors have no finer type on every version
            if "time" in str(error).lower() and not self._broken():
                raise HandoffTimeout(f"the other side did not answer in time: {error}") from error
            raise PeerLost(f"the other side is gone: {error}") from error

    def _poll(self, done: torch.cuda.Event, timeout_s: float) -> None:
        """Wait for `done`. NCCL's own wait does not notice over NVLink that the other process has died."""
        began = time.monotonic()
        while not done.query():
            waited = time.monotonic() - began
            if self._broken():
                raise PeerLost("the other side has ended in the middle of a payload")
            if waited > timeout_s:
                raise HandoffTimeout("the other side did not send in time")
            time.sleep(0 if waited < _SPIN_S else 0.0005)


def _nccl(store: Store, rank: int, settings: HandoffSettings) -> Any:
    if not dist.is_nccl_available():
        raise HandoffError("this build of PyTorch has no NCCL")
    for name, value in _FOR_NCCL.items():
        os.environ.setdefault(name, value)
    if is_loopback(settings.bind):
        os.environ.setdefault("NCCL_SOCKET_IFNAME", "lo")
    options = dist.ProcessGroupNCCL.Options()
    options._timeout = timedelta(seconds=_JOIN_S)
    return dist.ProcessGroupNCCL(store, rank, 2, options)


def _gloo(store: Store, rank: int, settings: HandoffSettings) -> Any:
    gloo: Any = dist.ProcessGroupGloo
    options = gloo._Options()
    options._devices = [gloo.create_device(hostname=settings.bind)]
    options._timeout = timedelta(seconds=_JOIN_S)
    return gloo(store, rank, 2, options)


def _while_it_lives(action: Callable[[], None], broken: Callable[[], bool]) -> None:
    """Run `action`, which may block, in a thread; give up when the other side has ended, or after _JOIN_S."""
    errors: list[Exception] = []

    def run() -> None:
        try:
            action()
        except Exception as error:  # raised below, in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run, name="handoff-nccl-join", daemon=True)
    thread.start()
    end = time.monotonic() + _JOIN_S
    while thread.is_alive():
        thread.join(0.005)
        if broken():
            raise PeerLost("the other side has ended while the two were finding each other")
        if time.monotonic() > end:
            raise HandoffTimeout("the two sides did not find each other in time")
    if errors:
        error = errors[0]
        raise error if isinstance(error, HandoffError) else PeerLost(f"the two sides did not find each other: {error}")
