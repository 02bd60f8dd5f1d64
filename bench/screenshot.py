"""Makes a picture of the running command: python -m bench.screenshot PICTURE.svg [--at 0.6] -- INPUT OUTPUT ...

Runs `eden-interpolate INPUT OUTPUT ...` in a terminal of its own, and saves what that showed after the fraction `--at`
of its redraws. Needs a server, as the command does.
"""

from __future__ import annotations

import argparse
import io
import os
import pty
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from bench.processes import running
from media.signals import exit_when_told_to

WIDTH = 100
REDRAW = "\r\x1b[2K"
"""What the progress bar writes before each drawing of its line."""


def screens(command: list[str]) -> list[str]:
    """What the terminal showed, from redraw to redraw. Raises SystemExit with all of it if the command fails."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"COLUMNS": str(WIDTH), "LINES": "24", "TERM": "xterm-256color"}
    written = b""
    with running(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        while True:
            try:
                written += os.read(ours, 65536)
            except OSError:  # how a terminal says that its last program is gone
                break
        os.close(ours)
        code = process.wait()
    if code:
        raise SystemExit(written.decode())
    return written.decode().split(REDRAW)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.screenshot", description=__doc__.splitlines()[0])
    parser.add_argument("picture", type=Path, help="the SVG file to write")
    parser.add_argument(
        "--at", type=float, default=0.6, help="which redraw to show: 0 is the first, 1 the last (default: %(default)s)"
    )
    parser.add_argument("arguments", nargs="+", help="arguments of eden-interpolate, after --")
    args = parser.parse_args()
    shown = screens([str(Path(sys.executable).with_name("eden-interpolate")), *args.arguments])
    console = Console(record=True, force_terminal=True, width=WIDTH, file=io.StringIO())
    console.print(f"$ eden-interpolate {' '.join(args.arguments)}", highlight=False, markup=False)
    console.print(Text.from_ansi(shown[int(args.at * (len(shown) - 1))]))
    args.picture.write_text(console.export_svg(title="eden-interpolate"))


if __name__ == "__main__":
    exit_when_told_to()
    main()
