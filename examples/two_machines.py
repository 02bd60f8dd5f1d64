"""Encode on one machine and draw on another, without TorchServe: the tokens go from process to process.

On both, the same key, of which EDEN_HANDOFF_KEY holds at least 16 characters. On the first, 192.0.2.1:

    python -m examples.two_machines encode first.png second.png --bind 192.0.2.1 --port 9000 > ticket

which waits until its tokens have been taken, and on the second, with a copy of `ticket`:

    python -m examples.two_machines draw between.png < ticket

The ticket is a few hundred bytes and tells where the tokens are; only who has the key can use it. `--kind` names
another transport: http, websocket, grpc and zeromq work between machines. As servers, with a client that brings the
tickets: docs/two-hosts.md.
"""

from __future__ import annotations

import argparse
import base64
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from eden import DitDecoder, Encoder
from handoff import Handoff, HandoffSettings, open_handoff


def encode(handoff: Handoff, checkpoint: Path, pictures: Sequence[Path]) -> None:
    """Put the pictures' tokens, print the ticket, and stay until they are taken or the ticket expires."""
    frames = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in pictures])
    tokens = Encoder.load(checkpoint).encode(torch.from_numpy(frames).permute(0, 3, 1, 2))
    print(base64.b64encode(handoff.put(tokens)).decode(), flush=True)
    while handoff.in_flight():
        time.sleep(0.1)


def draw(handoff: Handoff, checkpoint: Path, result: Path) -> None:
    """Take the tokens of the ticket on standard input, and write the frame between. Raises HandoffError."""
    decoder = DitDecoder.load(checkpoint)
    tokens = handoff.take(base64.b64decode(sys.stdin.readline()))
    (frames,) = decoder.interpolate([tokens], seeds=[0], as_uint8=True)
    Image.fromarray(frames[0].permute(1, 2, 0).numpy()).save(result)


def main(arguments: Sequence[str] | None = None) -> None:
    """One of the two machines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    roles = parser.add_subparsers(dest="role", required=True)
    encoding, drawing = roles.add_parser("encode"), roles.add_parser("draw")
    encoding.add_argument("pictures", type=Path, nargs=2)
    encoding.add_argument("--bind", default="127.0.0.1", help="this machine's address, as the other one dials it")
    encoding.add_argument("--port", type=int, default=0, help="0: any that is free")
    drawing.add_argument("result", type=Path)
    for role in (encoding, drawing):
        role.add_argument("--kind", default="http")
        role.add_argument("--checkpoint", type=Path, default=Path("weights/demo"))
    args = parser.parse_args(arguments)
    if args.role == "encode":
        settings = HandoffSettings(kind=args.kind, bind=args.bind, port=args.port, time_to_live_s=600, timeout_s=60)
        with open_handoff(settings) as handoff:
            encode(handoff, args.checkpoint, args.pictures)
    else:
        with open_handoff(HandoffSettings(kind=args.kind, timeout_s=60)) as handoff:
            draw(handoff, args.checkpoint, args.result)


if __name__ == "__main__":
    main()
