"""`make demo`: sends a clip to a TorchServe, which returns it at twice its frame rate."""

import argparse
import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import requests

from media import MediaError, open_video
from media.signals import exit_when_told_to
from server.settings import HOME
from server.torchserve import Server, ServerError

LONGEST = 600.0
"""Seconds that the server may take for the clip."""


class DemoError(RuntimeError):
    """The demo cannot go on; the message says why."""


@contextlib.contextmanager
def any_server() -> Iterator[Server]:
    """The server of `make serve` if it is running, and it stays so; else one started for this, stopped at the end."""
    served = Server()
    if served.is_running():
        print(f"Using the TorchServe running at {served.url}.", flush=True)
        yield served
        return
    print("Starting TorchServe ...", flush=True)
    with Server(folder=HOME / "run" / "demo" / "server", ports="free") as own:
        yield own


def double(server: Server, clip: Path, result: Path) -> None:
    """Send the video `clip`, and write the answer, with twice its frames, to `result`. Raises DemoError."""
    try:
        headers = {"Content-Type": "video/mp4", "Accept": "video/mp4"}
        reply = server.api.call(server.topology.paths[0], data=clip.read_bytes(), headers=headers, timeout=LONGEST)
    except requests.RequestException as error:
        raise DemoError(f"The server did not answer: {error}. Its logs are in {server.logs}.") from None
    # Inside a workflow every answer is a 200: an error is a JSON body in place of a video.
    if reply.status_code != 200 or reply.content.startswith(b"{"):
        raise DemoError(f"The server refused the clip: {reply.text[:500]}")
    result.write_bytes(reply.content)


def describe(path: Path) -> str:
    """A video's frames, rate and size, all of it decoded. Raises MediaError."""
    with open_video(path) as video:
        count = sum(1 for _ in video.frames())
        return f"{count} frames of {video.size[1]}x{video.size[0]} at {float(video.rate):g} per second"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m server.demo", description=__doc__)
    parser.add_argument("clip", type=Path)
    parser.add_argument("result", type=Path)
    args = parser.parse_args()
    try:
        with any_server() as server:
            begun = time.monotonic()
            double(server, args.clip, args.result)
            print(f"Answered in {time.monotonic() - begun:.1f} s.")
        print(f"The result: {describe(args.result)}.")
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    except (DemoError, MediaError, ServerError, OSError) as error:
        print(f"make demo: {error}", file=sys.stderr)
        return 1
    print(args.result)
    return 0


if __name__ == "__main__":
    exit_when_told_to()
    raise SystemExit(main())
