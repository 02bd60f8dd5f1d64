"""The command: eden-interpolate INPUT OUTPUT."""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from eden_client.api.client import EdenClient
from eden_client.api.errors import EdenError, ServerTrouble
from eden_client.api.sessions import TokenInClear
from eden_client.cli.connect import connect, servers
from eden_client.cli.films import InOut, films_in, make_all
from eden_client.cli.options import parser
from eden_client.cli.reports import Bar, Json, JsonLines, Lines, ProgressReporter
from eden_client.film.order import Interrupted, Order
from eden_client.film.resume_journal import JournalError
from eden_client.film.run import interpolate_film
from eden_client.trace.files import write_trace
from media import MediaError
from media.signals import exit_when_told_to

if TYPE_CHECKING:
    from eden_client.film.cluster.ray_cluster import RayCluster

INTERRUPTED = 130
"""The exit code that shells give for a program that Ctrl-C ended."""
SAME_NOTE = 10.0
"""Seconds until the same trouble is reported again."""


def run() -> int:
    """The command in a process of its own: a signal that ends it leaves a run as Ctrl-C does, to be resumed."""
    exit_when_told_to()
    return main()


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the film that `arguments` ask for (default: the command line's). Returns the exit code."""
    args = parser().parse_args(arguments)
    reporter = _reporter(args)

    def work() -> int:
        named = servers(args)
        connecting = connect(args, named[0])
        with _cluster(args, connecting, named) as cluster:
            if cluster and (films := films_in(args.input, args.output)):
                return _make_films(args, films, connecting, cluster, reporter)
            with _connected(connecting, reporter) as client:
                try:
                    reporter.done(interpolate_film(_order(args), client, reporter, connecting, cluster))
                finally:
                    if args.trace and client.trace:
                        write_trace(args.trace, client.trace.spans, client.trace.dropped)
            return 0

    return _told_of_errors(work, reporter)


def _told_of_errors(work: Callable[[], int], reporter: ProgressReporter) -> int:
    try:
        return work()
    except (MediaError, JournalError, EdenError, OSError, ValueError) as error:
        reporter.failed(f"eden-interpolate: {_reason(error)}{_what_is_left(error)}", _reason(error))
        return 1
    except (KeyboardInterrupt, SystemExit) as error:
        reporter.failed(f"eden-interpolate: interrupted{_what_is_left(error)}", "interrupted")
        return INTERRUPTED if isinstance(error, KeyboardInterrupt) else int(error.code or 0)


def _make_films(
    args: argparse.Namespace,
    films: Sequence[InOut],
    connect: Callable[[], EdenClient],
    cluster: RayCluster,
    whole: ProgressReporter,
) -> int:
    """Make each film as if it were the only one; if one fails, the others are still made."""
    if args.trace:
        raise ValueError("--trace records one film, but INPUT is a folder of films")

    def make(film: InOut) -> int:
        name = film.source.name
        reporter = whole.of(name) if isinstance(whole, Json) else Lines(name)
        if args.resume and film.target.exists():
            reporter.note(f"{film.target} exists already: skipped")
            return 0

        def work() -> int:
            with _connected(connect, reporter) as client:
                order = replace(_order(args), source=str(film.source), target=str(film.target))
                reporter.done(interpolate_film(order, client, reporter, connect, cluster))
            return 0

        return _told_of_errors(work, reporter)

    return make_all(films, make, cluster.stopped)


def _reporter(args: argparse.Namespace) -> ProgressReporter:
    if args.json_lines:
        return JsonLines(args.output)
    if args.json:
        return Json(args.output)
    return Bar() if sys.stderr.isatty() and not args.plain else Lines()


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _what_is_left(error: BaseException) -> str:
    left = error.__cause__
    if not isinstance(left, Interrupted) or not left.frames:
        return ""
    seen = f" (see {left.part})" if left.part else ""
    return f"; {left.frames} frames are done{seen}, --resume continues from there"


def _connected(connect: Callable[[], EdenClient], reporter: ProgressReporter) -> EdenClient:
    """A client for this process. Its warnings and troubles are reported as notes."""
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always", TokenInClear)
        client = connect()
    for note in dict.fromkeys(str(warning.message) for warning in noted):
        reporter.note(note)
    client.on_trouble = _once_in_a_while(reporter)
    return client


def _once_in_a_while(reporter: ProgressReporter) -> Callable[[ServerTrouble], None]:
    told: dict[str, float] = {}

    def tell(error: ServerTrouble) -> None:
        now = time.monotonic()
        if now - told.get(str(error), -SAME_NOTE) >= SAME_NOTE:  # calls side by side meet the same trouble
            told[str(error)] = now
            reporter.note(f"trying again: {error}")

    return tell


@contextmanager
def _cluster(
    args: argparse.Namespace, connect: partial[EdenClient], servers: tuple[str, ...]
) -> Iterator[RayCluster | None]:
    """The Ray cluster that makes the films, None without --ray. Raises ValueError: options that do not go together."""
    if args.ray is None:
        for name in ("ray_source", "engine"):
            if getattr(args, name):
                raise ValueError(f"--{name.replace('_', '-')} needs --ray")
        yield None
        return
    if args.processes:
        raise ValueError("--processes is for this machine alone: with --ray, the cluster decides how many there are")
    from eden_client.film.cluster.engine import EngineChoice
    from eden_client.film.cluster.node_client import NodeClient
    from eden_client.film.cluster.ray_cluster import RayCluster

    made = {name: value for name, value in connect.keywords.items() if name not in ("token", "key_file")}
    node = NodeClient(partial(EdenClient, **made), servers, args.token, args.key_file, Path.cwd())
    engine = EngineChoice(args.engine, args.engine_precision, args.seed, connect.keywords["window"])
    cluster = RayCluster(args.ray, node, engine if args.engine else None, args.ray_source)
    try:
        with redirect_stdout(sys.stderr):  # what Ray prints must not mix with the film or the JSON
            yield cluster
    finally:
        cluster.close()


def _order(args: argparse.Namespace) -> Order:
    return Order(
        source=args.input,
        target=args.output,
        times=args.times,
        fps=args.fps,
        depth=args.depth,
        cuts=args.cuts,
        duplicates=args.duplicates,
        source_fps=args.source_fps,
        start=args.start,
        duration=args.duration,
        slow=args.slow,
        strict=args.strict,
        compare=args.compare,
        clip=2 if args.strategy == "streaming" else args.clip,
        codec=args.codec,
        crf=args.crf,
        preset=args.preset,
        pixel_format=args.pixel_format,
        resume=args.resume,
        overwrite=args.overwrite,
        memory=args.memory,
        processes=args.processes,
    )
