"""Sets up what all scenarios need once per process: options, tags, the shape of the load. Importing it does that."""

from __future__ import annotations

from typing import Any

import gevent
from locust import User, events, runners
from locust.env import Environment
from locust.runners import WorkerRunner

from loadtest import _quirks  # noqa: F401
from loadtest._events import FRAME
from loadtest._generator import Generator
from loadtest._options import Asked, add_options, parsed
from loadtest._process import Shared
from loadtest._shapes import make_shape


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def _options(parser: Any, **_: Any) -> None:
    add_options(parser)


@events.init.add_listener  # type: ignore[untyped-decorator]
def _init(environment: Environment, **_: Any) -> None:
    Asked.of(parsed(environment))
    runners.WORKER_REPORT_INTERVAL = 1.0  # seconds; a phase counts what workers have reported so far
    vars(environment)["eden"] = Shared(environment)
    _keep_wanted(environment)
    vars(environment)["eden_generator"] = Generator(environment)
    if shape := make_shape(environment):
        environment.shape_class = shape
        shape.runner = environment.runner
    if parsed(environment).enough and not isinstance(environment.runner, WorkerRunner):
        gevent.spawn(_stop_when_enough, environment)


def _stop_when_enough(environment: Environment) -> None:
    enough = parsed(environment).enough
    while sum(row.num_requests for row in environment.stats.entries.values() if row.method == FRAME) < enough:
        gevent.sleep(0.2)
    gevent.sleep(1.5)  # Locust writes --csv once per second, and not at the end
    assert environment.runner is not None
    environment.runner.quit()


def _keep_wanted(environment: Environment) -> None:
    """Drop users of another --route, and those without a task after --tags, which Locust would try to start."""
    options = parsed(environment)
    wanted, unwanted = set(options.tags or ()), set(options.exclude_tags or ())

    def has_task(user: type[User]) -> bool:
        tags: list[set[str]] = [getattr(task, "locust_tag_set", set()) for task in user.tasks]
        return any((not wanted or of & wanted) and not of & unwanted for of in tags)

    kept = [
        user for user in environment.user_classes if has_task(user) and options.route in getattr(user, "routes", ())
    ]
    if not kept:
        raise ValueError(f"no scenario of --route {options.route} has the tags {', '.join(sorted(wanted))}")
    environment.user_classes[:] = kept
