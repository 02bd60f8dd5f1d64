"""Rows in Locust's statistics for events other than requests.

FRAME    one per frame that arrived: its rate is frames per second, its time is counted from its request
FIRST    time to the first frame: once per camera, once per clip
LATE     a camera's pair that was answered after its deadline: its time is the delay beyond that
SKIPPED  a camera's pair that was never sent, since the one before it was still in flight
JITTER   difference between the time between two frames of a camera and its period
REFUSED  a request that the server refused as too busy: its time is that of the refusal (it counts as a failure too)
"""

from __future__ import annotations

from locust.env import Environment

KINDS = ("FRAME", "FIRST", "LATE", "SKIPPED", "JITTER", "REFUSED")
FRAME, FIRST, LATE, SKIPPED, JITTER, REFUSED = KINDS


def note(environment: Environment, kind: str, scenario: str, seconds: float = 0.0, times: int = 1) -> None:
    """Count `times` events of a kind in KINDS, each with `seconds`, as successes."""
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
    """Count the failure of a call that was not made by Locust's own client."""
    environment.events.request.fire(
        request_type=kind, name=name, response_time=1e3 * seconds, response_length=0, exception=error, context={}
    )
