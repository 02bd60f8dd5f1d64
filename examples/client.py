"""Send pictures to a running server and write the frames between them as they come: `make serve` first.

    python -m examples.client --key-file run/server/key_file.json between/ 1.png 2.png 3.png

Any number of pictures of one size, in order: of N pictures there are N-1 frames between. They are read as the server
takes them, so that a film of any length needs little memory.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from eden_client import EdenClient, EdenError


def main(arguments: Sequence[str] | None = None) -> int:
    """Write RESULTS/0001.png, 0002.png, ...; an exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="a folder")
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--server", default="http://127.0.0.1:8080")
    parser.add_argument("--key-file", type=Path, help="the server's key_file.json")
    args = parser.parse_args(arguments)
    args.results.mkdir(parents=True, exist_ok=True)
    try:
        with EdenClient(args.server, key_file=args.key_file) as eden:
            pictures = (Image.open(path) for path in args.pictures)
            for number, frame in enumerate(eden.stream(pictures), start=1):
                Image.fromarray(frame).save(args.results / f"{number:04}.png")
    except EdenError as error:  # what the server said, or that it is not there; calls worth it were tried again
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
