"""Plans a film on a thread of its own, a bounded number of jobs ahead."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Planned(Generic[T]):
    """The next job; None: there are no more; an exception: planning has failed."""

    job: T | BaseException | None


class PlanAhead(Generic[T]):
    """Passes on jobs as they are planned, at most `room` of them before they are finished.

    jobs   the jobs; iterating it does the planning
    tell   takes each `Planned`; called by the planning thread
    room   jobs that may be passed on and not finished
    """

    def __init__(self, jobs: Iterator[T], tell: Callable[[Planned[T]], None], room: int) -> None:
        self._jobs, self._tell = jobs, tell
        self._room, self._stopped = threading.Semaphore(room), False
        threading.Thread(target=self._plan, name="plan", daemon=True).start()

    def make_room(self, count: int = 1) -> None:
        """Let `count` more jobs be planned: jobs are finished, or more workers have come."""
        self._room.release(count)

    def stop(self) -> None:
        """Stop planning. Does not wait for the job that is being planned."""
        self._stopped = True
        self._room.release()

    def _plan(self) -> None:
        try:
            for job in self._jobs:
                self._room.acquire()
                if self._stopped:
                    return
                self._tell(Planned(job))
            self._tell(Planned(None))
        except BaseException as error:
            self._tell(Planned(error))
