"""The command eden-interpolate for an uploaded film: python -m web.worker INPUT OUTPUT [options].

It ends as by SIGTERM once its standard input ends, and so with the service, however that ends. Files that list other
files (playlists) are refused: they could make it read files that are not the visitor's.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from eden_client.cli.main import main
from eden_client.cli.reports import JsonLines
from media import MediaError
from media.signals import exit_when_told_to
from web.film_kinds import kind_of
from web.lifeline import end_with_the_input


def run(arguments: Sequence[str]) -> int:
    """Run the command. Returns its exit code."""
    exit_when_told_to()
    end_with_the_input()
    try:
        kind_of(Path(arguments[0]))
    except (MediaError, OSError) as error:
        JsonLines(arguments[1]).failed(str(error), str(error))
        return 1
    return main(arguments)


if __name__ == "__main__":
    raise SystemExit(run(sys.argv[1:]))
