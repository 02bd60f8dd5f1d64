"""Locust's own statistics, with rows for what counts here besides requests.

FRAME    one per frame that arrived: its rate is frames per second, its time is counted from its request
FIRST    time to the first frame: of a stream once, of a clip each time
LATE     a camera's pair that came after its deadline: its time is how much too late
SKIPPED  a camera's pair that was never sent, since the one before it was still in flight
JITTER   by how much the time between two frames of a camera differs from its period
REFUSED  a request that the server refused since it has too much to do: how long it took to say so (a failure, too)
"""

from __future__ import annotations

from locust.env import Environment

KINDS = ("FRAME", "FIRST", "LATE", "SKIPPED", "JITTER", "REFUSED")
FRAME, FIRST, LATE, SKIPPED, JITTER, REFUSED = KINDS


def note(environment: Environment, kind: str, scenario: str, seconds: float = 0.0, times: int = 1) -> None:
    """Count `times` events of one of KINDS, none of which is a failure."""
    for _ in range(times):
        environment.events.request.fire(
            request_type=kind,
            name=scenario,
            response_time=1e3 * seconds,
            response_length=0,
            exception=None,
            context={},
        )


def failed(environment: Environment, kind: str, name: str, seconds: float, error: Exception) -> None:
    """Count a failure of a call that Locust's own client did not make."""
    environment.events.request.fire(
        request_type=kind, name=name, response_time=1e3 * seconds, response_length=0, exception=error, context={}
    )
