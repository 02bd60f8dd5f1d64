"""A route by the workflow, and by the chain while the workflow is busy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from eden_client.api.errors import NotOffered, ServerBusy
from eden_client.api.routes import Route
from eden_client.api.yuv import YuvFormat
from eden_client.trace.recording import UNTRACED, Step
from media import Frame

CALM = 16
"""Clips answered in a row after which a server no longer counts as busy."""


class BusyRoute:
    """Uses the chain while a server is busy: its encoder refuses at once, a workflow's refusal waits for the decoder.

    workflow, chain  routes through the same server, so closing either closes both
    """

    def __init__(self, workflow: Route, chain: Route) -> None:
        self._workflow, self._chain, self._has_chain = workflow, chain, True
        self._to_go = 0
        """Clips that go by the chain until the workflow is tried again."""

    def between(
        self, frames: Sequence[Frame], within: float, yuv: YuvFormat | None, step: Step = UNTRACED
    ) -> Iterator[Frame]:
        by_chain = self._to_go > 0 and self._has_chain
        try:
            yield from (self._chain if by_chain else self._workflow).between(frames, within, yuv, step)
        except ServerBusy:
            self._to_go = CALM
            raise
        except NotOffered:  # a gateway may let pass the workflow alone
            self._has_chain = self._has_chain and not by_chain
            raise
        self._to_go = max(0, self._to_go - 1)

    def close(self) -> None:
        self._workflow.close()
