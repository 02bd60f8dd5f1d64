"""A film planned on a thread of its own, a little ahead of those who make it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Planned(Generic[T]):
    """There is another job, there are no more (None), or planning has failed."""

    job: T | BaseException | None


class PlanAhead(Generic[T]):
    """Tells jobs as they are planned, as many as there is room for.

    jobs   plans as it is iterated
    tell   takes what there is to know, on the thread that plans
    room   for so many jobs that are told and not made
    """

    def __init__(self, jobs: Iterator[T], tell: Callable[[Planned[T]], None], room: int) -> None:
        self._jobs, self._tell = jobs, tell
        self._room, self._stopped = threading.Semaphore(room), False
        threading.Thread(target=self._plan, name="plan", daemon=True).start()

    def make_room(self, count: int = 1) -> None:
        """So many more: jobs are made, or there are more who make them."""
        self._room.release(count)

    def stop(self) -> None:
        """No more jobs are wanted; what is being planned is not waited for."""
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
