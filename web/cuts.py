"""Scene cuts of uploads: searched in one film after the other, once per film."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from web.answers import ApiError
from web.film_process import FilmProcess
from web.previews import Previews
from web.schemas import Cuts
from web.uploads import Upload

FINDER = (sys.executable, "-m", "web.cut_finder")
_FILE = "cuts.json"
_LONGEST_S = 3600.0
"""Most seconds that the search of one film may take."""
_MOST = 16
"""Most films that may wait to be searched."""


class CutSearch:
    """Searches for cuts; used by one event loop.

    wait_s   seconds after which `find` returns what is found so far
    """

    def __init__(self, previews: Previews, wait_s: float, command: Sequence[str] = FINDER) -> None:
        self._previews, self._command, self._wait_s = previews, command, wait_s
        self._searches: dict[str, _Search] = {}
        self._turn = asyncio.Lock()

    def known(self, upload: Upload) -> Cuts | None:
        """The cuts found so far; None if nobody asked for them yet."""
        kept = self._previews.read(upload, _FILE)
        if kept is not None:
            return msgspec.json.decode(kept, type=Cuts)
        search = self._searches.get(upload.id)
        return None if search is None else search.found

    async def find(self, upload: Upload) -> Cuts:
        """All cuts, or after `wait_s` those found so far while the search goes on.

        Raises ApiError: 422 the film cannot be read, 503 too many films wait.
        """
        known = self.known(upload)
        if known is not None and known.complete:
            return known
        search = self._searches.get(upload.id) or self._begun(upload)
        await asyncio.wait([search.task], timeout=self._wait_s)
        if search.error is not None:
            raise ApiError(422, upload.worded(search.error))
        return search.found

    async def close(self) -> None:
        """End all searches."""
        tasks = [search.task for search in self._searches.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begun(self, upload: Upload) -> _Search:
        if len(self._searches) >= _MOST:
            raise ApiError(503, "too many films wait to be searched for cuts: ask again later", {"Retry-After": "10"})
        search = self._searches[upload.id] = _Search()
        search.task = asyncio.create_task(self._search(upload, search))
        search.task.add_done_callback(lambda _: self._searches.pop(upload.id, None))
        return search

    async def _search(self, upload: Upload, search: _Search) -> None:
        try:
            async with self._turn, asyncio.timeout(_LONGEST_S):
                await FilmProcess([*self._command, str(upload.path)], search.hear).run()
        except TimeoutError:
            search.error = f"the search for cuts took longer than {_LONGEST_S:g} s"
        if search.found.complete:
            self._previews.keep(upload, _FILE, msgspec.json.encode(search.found))
        elif search.error is None:
            search.error = "the film cannot be read: its data crashed the process that tried"


class _Search:
    task: asyncio.Task[None]

    def __init__(self) -> None:
        self.found = Cuts([], 0.0, False)
        self.error: str | None = None

    def hear(self, told: dict[str, Any]) -> None:
        match told:
            case {"cut": at}:
                self.found.cuts.append(at)
            case {"scanned": at}:
                self.found.scanned_s = at
            case {"complete": True}:
                self.found.complete = True
            case {"error": why}:
                self.error = why
