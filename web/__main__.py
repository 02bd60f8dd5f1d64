"""The service: python -m web. Options of eden-interpolate for all films come after --, such as -- --server URL."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import uvicorn

from eden_client.folder_lock import LockTaken
from web.app import Service
from web.idle import patient_protocol
from web.live import LARGEST
from web.security import is_loopback
from web.settings import Limits, Settings

_ENDING_S = 5
"""Seconds that answers get to be sent completely when the service ends."""


class Server(uvicorn.Server):
    """Ends the streams of events when it is told to end: they would go on for ever."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self._loop.call_soon_threadsafe(self._service.events.close)

    async def startup(self, *arguments: object, **options: object) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(*arguments, **options)  # type: ignore[arg-type]


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to end; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    at = given.index("--") if "--" in given else len(given)
    parser = _parser()
    args = parser.parse_args(given[:at])
    try:
        settings = _settings(args, given[at + 1 :])
        service = Service(settings)
    except LockTaken:
        print(f"web: another service works in {args.folder}", file=sys.stderr)
        return 1
    except (OSError, ValueError, sqlite3.Error) as error:
        print(f"web: {error}", file=sys.stderr)
        return 1
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    server_of(settings, service).run()
    return 0


def server_of(settings: Settings, service: Service) -> Server:
    """What listens where the settings say."""
    config = uvicorn.Config(
        service.app,
        host=settings.host,
        port=settings.port,
        http=patient_protocol(settings.limits.receive_s),
        ws="websockets-sansio",
        ws_max_size=LARGEST,
        ws_per_message_deflate=False,
        lifespan="on",
        log_level="info",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=settings.limits.connections,
        timeout_graceful_shutdown=_ENDING_S,
    )
    return Server(config, service)


def _settings(args: argparse.Namespace, film_options: Sequence[str]) -> Settings:
    """Raises ValueError: not safe like that; OSError: the file of the token cannot be read."""
    token = os.environ.get("EDEN_WEB_TOKEN") or None
    if args.token_file is not None:
        token = args.token_file.read_text(encoding="utf-8").strip()
    if token is not None and (len(token) < 16 or not token.isascii()):
        raise ValueError("the token has to be of 16 ASCII characters or more")
    if token is None and not is_loopback(args.host):
        raise ValueError(
            f"others can reach {args.host}: set EDEN_WEB_TOKEN or --token-file (python -c 'import secrets; "
            "print(secrets.token_urlsafe())' makes one)"
        )
    limits = Limits(upload_bytes=args.max_upload << 20, reserve_bytes=args.reserve << 20, keep_s=args.keep * 86400)
    return Settings(
        folder=args.folder.resolve(),
        host=args.host,
        port=args.port,
        allowed_hosts=tuple(args.allow_host),
        token=token,
        at_once=args.at_once,
        film_options=tuple(film_options),
        limits=limits,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m web",
        usage="%(prog)s [options] [-- options of eden-interpolate]",
        description="Films over HTTP: uploads, a queue that survives restarts, progress as it happens.",
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on; one that others reach needs a token")
    add("--port", type=int, default=8008)
    add("--allow-host", action="append", default=[], metavar="NAME", help="another name that it is called by")
    add("--token-file", type=Path, metavar="FILE", help="its token, in place of $EDEN_WEB_TOKEN")
    add("--folder", type=Path, default=Path("run/web"), help="for uploads, results and the queue (default: run/web)")
    add("--at-once", type=int, default=1, metavar="N", help="films that are made side by side (default: 1)")
    add("--max-upload", type=int, default=4096, metavar="MIB", help="of one film (default: 4096)")
    add("--reserve", type=int, default=2048, metavar="MIB", help="of the disk that stay free (default: 2048)")
    add("--keep", type=float, default=7, metavar="DAYS", help="until uploads and results are removed (default: 7)")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
