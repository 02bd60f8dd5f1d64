"""A hand-off transport of one's own: examples/tcp_transport.py, registered, and used between two processes.

    python -m examples.custom_transport

A transport is a row in two tables. This adds it from outside, for programs that use `handoff` as a library; one that
is to serve inside TorchServe goes into handoff/transports/ and into the tables of handoff/__init__.py, since archives
carry that folder. Whether it keeps the contract of all others: tests/contract/test_handoff_tcp_transport.py.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from eden import EncoderOutput
from handoff import KINDS, TRANSPORTS, HandoffSettings, open_handoff

KIND = "tcp"


def register() -> None:
    """Add the transport to the tables, in each process that uses it."""
    TRANSPORTS[KIND] = "examples.tcp_transport:transport"  # a module, and what in it makes the transport
    KINDS[KIND] = (KIND,)  # what the setting `kind` may be, and the transports that it uses, best first


def consume(settings: HandoffSettings, pipe: Connection) -> None:
    """Another process: take what the ticket names, and send back a sum of it."""
    register()
    with open_handoff(settings) as handoff:
        pipe.send("ready")
        pipe.send(float(handoff.take(pipe.recv_bytes()).cond_dit.sum()))


def main() -> None:
    """Hand over the tokens of two frames; raises AssertionError if they arrive changed."""
    register()
    (for_dit, for_decoder), (mean, std) = torch.randn(2, 2, 6, 8), torch.rand(2, 2)
    output = EncoderOutput(for_dit, for_decoder, mean, std, torch.rand(1), grid=(2, 3), size=(16, 24))
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        # The key that both sign with lies in the folder; a busy machine may be silent for longer than it is usual.
        settings = HandoffSettings(kind=KIND, folder=Path(folder), timeout_s=60)
        with open_handoff(settings) as handoff:
            consumer = context.Process(target=consume, args=(settings, theirs), daemon=True)
            consumer.start()
            theirs.close()  # so that the end of the consumer is the end of its pipe
            ours.recv()  # that it is ready: a ticket is good for a minute, and importing PyTorch may take as long
            ours.send_bytes(handoff.put(output))
            taken = ours.recv()
            consumer.join()
    assert taken == float(output.cond_dit.sum())
    print("the tokens arrived as they were put")


if __name__ == "__main__":
    main()
