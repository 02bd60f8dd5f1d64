"""Shapes of the load, for --shape: steps, spike, soak. Each measures in phases, and prints and writes the results."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path

from locust import LoadTestShape
from locust.env import Environment

from loadtest._options import parsed
from loadtest._phases import Phase, Row, Totals, knee, saturated, table

logger = logging.getLogger("eden")

AT_ONCE = 100.0
"""Users that are started per second: so many that a phase begins with all its users."""


class Phased(LoadTestShape):
    """Runs phases one after the other. Each runs for --settle-seconds, then is measured for --phase-seconds."""

    abstract = True

    def __init__(self, environment: Environment) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.environment, self.options = environment, parsed(environment)
        self.phases: list[Phase] = []
        self._plan = self.plan()
        self._now: tuple[str, int] | None = None
        self._measuring: tuple[float, dict[Row, Totals]] | None = None
        self._until = 0.0
        self._cpu: list[float] = []

    def plan(self) -> Iterator[tuple[str, int]]:
        """The name and the number of users of each phase. It may depend on `self.phases`, those measured so far."""
        raise NotImplementedError

    def reset_time(self) -> None:
        """Begin a new run."""
        super().reset_time()  # type: ignore[no-untyped-call]
        self.phases.clear()
        self._plan, self._now = self.plan(), None

    def tick(self) -> tuple[int, float] | None:
        """The users to run, and how many to start per second; None ends the run. Locust calls it once per second."""
        now = time.monotonic()
        if self._now is None or (self._measuring and now >= self._until):
            if self._now is not None:
                self._finish()
            self._now = next(self._plan, None)
            if self._now is None:
                self._sum_up()
                return None
            self._measuring, self._cpu = None, []
            self._until = now + self.options.settle_seconds
        elif self._measuring is None and now >= self._until:
            self._measuring = time.time(), self._read()
            self._until = now + self.options.phase_seconds
        if self._measuring:
            self._cpu.append(vars(self.environment)["eden_generator"].cpu())
        return self._now[1], AT_ONCE

    def _read(self) -> dict[Row, Totals]:
        return {
            (entry.method, entry.name): Totals(
                entry.num_requests,
                entry.num_failures,
                entry.total_response_time / 1e3,
                entry.total_content_length,
                dict(entry.response_times),
            )
            for entry in self.environment.stats.entries.values()
        }

    def _finish(self) -> None:
        assert self._now and self._measuring
        name, users = self._now
        cpu = sum(self._cpu) / max(1, len(self._cpu))
        phase = Phase.between(name, users, self._measuring, (time.time(), self._read()), cpu)
        self.phases.append(phase)
        if self.options.phases_file:
            with Path(self.options.phases_file).open("a") as file:
                file.write(json.dumps(phase.as_json()) + "\n")

    def _sum_up(self) -> None:
        print(f"\n{table(self.phases)}\n", flush=True)


class Steps(Phased):
    """More users in each step, until two steps in a row hardly raise the frames per second."""

    def plan(self) -> Iterator[tuple[str, int]]:
        """The steps of --steps, until throughput no longer grows."""
        for users in (int(part) for part in self.options.steps.split(",")):
            yield f"{users} users", users
            if saturated([phase.frames_per_second() for phase in self.phases], self.options.gain):
                return

    def _sum_up(self) -> None:
        super()._sum_up()
        if self.phases:
            at = self.phases[knee([phase.frames_per_second() for phase in self.phases])]
            print(f"The knee: {at.users} users, {at.frames_per_second():.2f} frames per second.\n", flush=True)


class Spike(Phased):
    """-u users, then --spike-users at once, then -u again, to see whether the server recovers."""

    def plan(self) -> Iterator[tuple[str, int]]:
        """The three phases: before, during and after the spike."""
        usual = self.options.num_users or 1
        yield from (("before", usual), ("spike", self.options.spike_users), ("after", usual))


class Soak(Phased):
    """-u users for -t, with a line per --phase-seconds, to see whether anything drifts."""

    def plan(self) -> Iterator[tuple[str, int]]:
        """As many phases as fit into -t."""
        each = self.options.phase_seconds
        for number in range(max(1, round((self.options.run_time or 3600) / each))):
            yield f"{number * each / 60:.1f} min", self.options.num_users or 1


SHAPES = {"steps": Steps, "spike": Spike, "soak": Soak}


def make_shape(environment: Environment) -> Phased | None:
    """The shape that --shape names; None: a plain run with -u, -r and -t."""
    kind = SHAPES.get(parsed(environment).shape)
    return kind(environment) if kind else None
