"""A picture of the command at work: python -m bench.screenshot FILM RESULT.svg --server URL --key-file FILE ..."""

from __future__ import annotations

import argparse
import io
import tempfile
from pathlib import Path

from rich.console import Console

from eden_client import EdenClient
from eden_client.film import interpolate_film
from eden_client.order import Order
from eden_client.reports import Bar


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.screenshot", description=__doc__.splitlines()[0])
    parser.add_argument("film", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--server", default="http://127.0.0.1:8080")
    parser.add_argument("--management")
    parser.add_argument("--key-file", type=Path, required=True)
    args = parser.parse_args()
    console = Console(record=True, force_terminal=True, width=110, file=io.StringIO())
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "smooth.webm"
        console.print(f"$ eden-interpolate {args.film.name} {target.name} --times 4", highlight=False)
        with EdenClient(args.server, key_file=args.key_file, management=args.management) as client:
            bar = Bar(console)
            summary = interpolate_film(Order(str(args.film), str(target), times=4), client, bar)
            summary.target = target.name
            bar.done(summary)
    args.picture.write_text(console.export_svg(title="eden-interpolate"))


if __name__ == "__main__":
    main()
