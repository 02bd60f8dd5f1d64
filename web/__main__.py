"""The service: python -m web. After -- come options of eden-interpolate for all films, such as -- --server URL."""

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

try:
    import uvicorn

    from eden_client.folder_lock import LockTaken
    from web.app import Service
    from web.idle import patient_protocol
    from web.live import LARGEST
    from web.security import is_loopback
    from web.settings import Limits, Settings
except ModuleNotFoundError as error:
    raise SystemExit(f"web: {error.name} is missing: pip install 'path/to/checkout[web]'") from None

_ENDING_S = 5
"""Seconds that unfinished answers get when the service ends."""


class Server(uvicorn.Server):
    """Also closes the event streams when it is told to end; they would never end by themselves."""

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
        print(f"web: another service is using {args.folder}", file=sys.stderr)
        return 1
    except (OSError, ValueError, sqlite3.Error) as error:
        print(f"web: {error}", file=sys.stderr)
        return 1
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    server_of(settings, service).run()
    return 0


def server_of(settings: Settings, service: Service) -> Server:
    """The HTTP server for a service, on the host and port of the settings."""
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
    """The settings that the arguments ask for. Raises ValueError: they are not safe; OSError: unreadable token file."""
    token = os.environ.get("EDEN_WEB_TOKEN") or None
    if args.token_file is not None:
        token = args.token_file.read_text(encoding="utf-8").strip()
    if token is not None and (len(token) < 16 or not token.isascii()):
        raise ValueError("the token must have at least 16 characters, all of them ASCII")
    if token is None and not is_loopback(args.host):
        raise ValueError(
            f"other hosts can reach {args.host}, so a token is needed: set EDEN_WEB_TOKEN or --token-file (python -c "
            "'import secrets; "
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
        description="Serve the page and its HTTP API: upload films, queue them, watch them being made.",
        epilog="Example: python -m web --port 8008 -- --server http://127.0.0.1:8080",
    )
    add = parser.add_argument
    add(
        "--host",
        default="127.0.0.1",
        help="address to listen on; one that other hosts can reach needs a token (default: %(default)s)",
    )
    add("--port", type=int, default=8008, help="port to listen on (default: %(default)s)")
    add(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="accept requests whose Host header has this name, beside --host and loopback; may be repeated",
    )
    add(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="file with the token that every request must carry (default: $EDEN_WEB_TOKEN, else no token)",
    )
    add(
        "--folder",
        type=Path,
        default=Path("run/web"),
        help="folder of uploads, results and the queue (default: run/web)",
    )
    add("--at-once", type=int, default=1, metavar="N", help="films that are made at once (default: 1)")
    add("--max-upload", type=int, default=4096, metavar="MIB", help="largest upload (default: 4096)")
    add("--reserve", type=int, default=2048, metavar="MIB", help="disk space to leave free (default: 2048)")
    add(
        "--keep",
        type=float,
        default=7,
        metavar="DAYS",
        help="days after which unused uploads and results are removed (default: 7)",
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
