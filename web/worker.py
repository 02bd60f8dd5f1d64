"""The command eden-interpolate, for a film that somebody sent: python -m web.worker INPUT OUTPUT [options].

It ends as by SIGTERM once its standard input does: so it goes with the service, however that ends. And files that are
lists of other files (playlists) are refused: they would have it read what is not the visitor's.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import av

from eden_client.cli.main import main
from eden_client.cli.reports import JsonLines
from eden_client.film.read.animation import is_animation
from media import MediaError
from media.names import open_input
from media.signals import exit_when_told_to

KINDS = (
    *("mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm", "avi", "mpegts", "mpeg", "flv", "ogg", "asf"),
    *("mxf", "nut", "gif", "apng", "ivf", "yuv4mpegpipe", "dv", "rm", "wtv", "h264", "hevc", "m4v", "mpegvideo"),
)
"""FFmpeg's names of what is taken: each a film in one file."""


def check_kind(path: Path) -> None:
    """Raises MediaError where the file is no film, or of a kind that names other files."""
    if is_animation(path):
        return
    try:
        with open_input(path, options={"format_whitelist": ",".join(KINDS)}):
            pass
    except (av.FFmpegError, ValueError) as error:
        raise MediaError("this is no film of a kind that is taken: mp4, mov, mkv, webm, avi, ts, gif, ...") from error


def run(arguments: Sequence[str]) -> int:
    """The exit code."""
    exit_when_told_to()
    threading.Thread(target=_end_with_the_input, name="input", daemon=True).start()
    try:
        check_kind(Path(arguments[0]))
    except (MediaError, OSError) as error:
        JsonLines(arguments[1]).failed(str(error), str(error))
        return 1
    return main(arguments)


def _end_with_the_input() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    raise SystemExit(run(sys.argv[1:]))
