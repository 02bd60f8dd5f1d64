"""Real processes for the contract suite: each holds one `Handoff` and does what it is asked over a pipe."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import logging
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import torch

import handoff
from eden import EncoderOutput
from handoff import Handoff, HandoffSettings, open_handoff
from tests.hosts import Host, enter

CONTEXT = multiprocessing.get_context("forkserver")
NETWORK = [f"handoff.transports.network.{name}" for name in ("http", "websocket", "zeromq")]  # gRPC dislikes a fork
CONTEXT.set_forkserver_preload(["torch", "handoff", *NETWORK, __name__])


def make_output(
    seed: int,
    length: int = 2,
    tokens: int = 12,
    width: int = 10,
    dtype: torch.dtype = torch.float32,
    frames: bool = False,
    device: str = "cpu",
) -> EncoderOutput:
    """A clip of random tokens; the seed decides every value."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return EncoderOutput(
        cond_dit=draw(length, tokens, width).to(dtype),
        cond_dec=draw(length, tokens, width).to(dtype),
        stats_mean=draw(length),
        stats_std=draw(length),
        difference=draw(length - 1),
        grid=(3, tokens // 3),
        size=(48, 16 * tokens // 3 - 1),
        frames=torch.randint(0, 256, (length, 3, 5, 7), dtype=torch.uint8, generator=generator) if frames else None,
    ).to(device)


def digest(output: EncoderOutput) -> str:
    """Differs if any bit, dtype, shape, or the grid or size does."""
    code = hashlib.sha256(repr((output.grid, output.size)).encode())
    for name, tensor in output.tensors().items():
        code.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        code.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return code.hexdigest()


class Log(logging.Handler):
    """Keeps the warnings of the hand-off."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []
        logging.getLogger("handoff").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


class Station:
    """What a peer can be asked to do."""

    def __init__(self) -> None:
        self.handoff: Handoff | None = None
        self._log = Log()
        self.device = "cpu"

    def register(self, kind: str, transport: str) -> None:
        handoff.TRANSPORTS[kind] = transport
        handoff.KINDS[kind] = (kind,)

    def enter(self, host: Host) -> None:
        """Move to another host: before anything is opened."""
        enter(host)

    def shift_clock(self, seconds: float) -> None:
        """From now on this process's clock is so far ahead."""
        true = time.time
        time.time = lambda: true() + seconds

    def warnings(self) -> list[str]:
        """What the hand-off has warned of."""
        return self._log.messages

    def open(self, settings: HandoffSettings, device: str) -> None:
        self.device = device
        self.handoff = open_handoff(settings, device)

    def put(self, options: dict[str, Any] | None = None, *, by_caller: bool = False, **spec: Any) -> bytes:
        return self._handoff.put(make_output(**spec, device=self.device), options, by_caller=by_caller)

    def take(self, ticket: bytes) -> str:
        output = self._handoff.take(ticket)
        assert output.cond_dit.device == torch.device(self.device)
        return digest(output)

    def stream(self, ticket: bytes) -> list[str]:
        return [digest(pair) for pair in self._handoff.stream(ticket)]

    def refuse(self, ticket: bytes) -> list[str]:
        """Which files and addresses were touched while a ticket was refused."""
        touched: list[str] = []
        watching = True

        def watch(event: str, arguments: tuple[Any, ...]) -> None:
            if watching and (event == "open" or event.startswith("socket.")):
                touched.append(f"{event} {arguments}")

        sys.addaudithook(watch)
        try:
            self._handoff.take(ticket)
        except handoff.TicketRejected:
            return touched
        finally:
            watching = False
        raise AssertionError("the ticket was taken")

    def in_flight(self) -> int:
        return self._handoff.in_flight()

    def counters(self) -> dict[tuple[str, str], int]:
        return dict(self._handoff.counters)

    def close(self) -> None:
        self._handoff.close()
        self.handoff = None

    def belongings(self) -> Counter[tuple[str, Any]]:
        """What this process has open, and how many of each: it has to be no more afterwards than before."""
        gc.collect()
        process = psutil.Process()
        files = [path for path in list(Path("/proc/self/fd").iterdir()) if path.is_symlink()]
        ports = [tuple(link.laddr) for link in process.net_connections() if link.status == psutil.CONN_LISTEN]
        found = {
            "port": ports,
            "thread": [thread.name for thread in threading.enumerate()],
            "file": [re.sub(r"\d+", "", str(path.readlink())) for path in files],
            "shared": {Path(item.path).name for item in process.memory_maps() if "eden-handoff" in item.path},
        }
        return Counter((kind, name) for kind, names in found.items() for name in names)

    @property
    def _handoff(self) -> Handoff:
        assert self.handoff is not None
        return self.handoff


def _serve(pipe: Connection) -> None:
    torch.set_num_threads(1)
    station = Station()
    while True:
        try:
            name, arguments, named = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send((getattr(station, name)(*arguments, **named), None))
        except Exception as error:  # the suite wants to see every one
            pipe.send((None, (type(error).__name__, f"{error}\n{traceback.format_exc()}")))


class Peer:
    """One such process, seen from the test."""

    def __init__(
        self, settings: HandoffSettings, device: str = "cpu", host: Host | None = None, transport: str = ""
    ) -> None:
        self._pipe, theirs = CONTEXT.Pipe()
        self._process = CONTEXT.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self.pid = self._process.pid
        assert self.pid is not None
        if transport:
            self.ask("register", settings.kind, transport)
        if host:
            self.ask("enter", host)
        self.ask("open", settings, device)

    def start(self, name: str, *arguments: Any, **named: Any) -> None:
        """Ask, and do not wait."""
        self._pipe.send((name, arguments, named))

    def answer(self, timeout: float = 60) -> Any:
        """What the peer answers, or the error that it met there."""
        if not self._pipe.poll(timeout):
            raise TimeoutError(f"no answer within {timeout} s")
        value, error = self._pipe.recv()
        if error is not None:
            kind = getattr(handoff, error[0], None)
            raise (kind(error[1]) if kind else RuntimeError(": ".join(error)))
        return value

    def ask(self, name: str, *arguments: Any, timeout: float = 60, **named: Any) -> Any:
        self.start(name, *arguments, **named)
        return self.answer(timeout)

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self._process.join(10)

    def end(self) -> None:
        self._pipe.close()
        self._process.join(0.5)
        self.kill()


def wait_until(condition: Callable[[], bool], timeout: float) -> bool:
    """Whether the condition came true in time."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return condition()
