"""A group of hostile calls, made side by side while an innocent neighbour calls too; and what must hold of each."""

from __future__ import annotations

import re
import statistics
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import media
from server.topology import BOTH, FUSED
from tests.e2e.servers import moving_frames
from tests.security.targets import (
    FUSED_TARGET,
    READ_TICKETS,
    WORKFLOW_TARGET,
    Answer,
    Call,
    Client,
    Target,
    is_served,
)

CALLERS = 8
"""Hostile calls at a time."""
NEVER = {500, 502, 504, 507}
"""Codes of a server that failed."""
LONGEST_ERROR = 2000
"""Bytes."""
LARGEST_ANSWER = 8 << 20
"""Bytes of frames; what a group sends is small."""
SLOWER, LEAST_SECONDS, LONGEST_SECONDS = 4.0, 5.0, 60.0
"""A neighbour's usual call may become so many times longer: never mind what stays under five seconds. And no single one
of its calls may take longer than the last."""
PAUSE = 0.1
"""Seconds between a neighbour's calls: without it the neighbour would be most of the load."""
INSIDE = re.compile(
    rb"""Traceback|Worker\ died|File\ \\?"|\.py\b|\.java\b|\bat\ [a-z]+\.[a-z]+\.    # traces
    |(?:/(?:home|root|usr|tmp|opt|var|work|dev|proc)/)|site-packages               # paths
    |(?<!/vnd\.)\b(?:eden|handoff|media|serving|handlers|ts|torch|numpy|PIL|av|msgspec)\.[a-z_]+\b(?!\.\w+\.com) # names
    |\b(?:java|io\.netty|org\.pytorch)\.[a-z]""",
    re.VERBOSE,
)
"""What an answer must not show: traces, paths, names of modules."""
REFUSED = frozenset({400})


@dataclass(frozen=True)
class Case:
    """A hostile call, and the codes of which one is the right answer: 200 means served."""

    name: str
    call: Call
    codes: frozenset[int] = REFUSED
    words: tuple[str, ...] = ()
    """that a refusal of ours holds"""
    type: str | None = None
    """that a refusal has"""


def complaints(case: Case, answer: Answer, target: Target) -> Iterator[str]:
    """All that is wrong with an answer."""
    if target.shows_status and answer.status != answer.code:
        yield f"HTTP's status is {answer.status}"
    if answer.code in NEVER or answer.code not in case.codes:
        yield f"not one of {sorted(case.codes)}"
    if case.call.method == "HEAD":
        return
    if answer.code == 200:
        if not is_served(answer.body):
            yield "neither frames nor a ticket"
        if len(answer.body) > LARGEST_ANSWER:
            yield f"{len(answer.body)} bytes"
        return
    if len(answer.body) > LONGEST_ERROR:
        yield f"an error of {len(answer.body)} bytes"
    if found := INSIDE.search(answer.body):
        yield f"it shows {found[0]!r}"
    told = answer.envelope or {}
    if "retry" in told:  # our own words, not TorchServe's
        yield from (f"it does not say {word!r}" for word in case.words if word not in told["message"])
        if case.type and told["type"] != case.type:
            yield f"it is no {case.type}"


def attack(client: Client, target: Target, cases: Sequence[Case]) -> dict[str, Answer]:
    """Make all calls; what went wrong with which of them is an AssertionError. Returns the answers by case."""
    assert len({case.name for case in cases}) == len(cases), "two cases have one name"
    before = pids(client)
    neighbour = Neighbour(client, FUSED_TARGET if FUSED in target.at else WORKFLOW_TARGET)
    usual = neighbour.usual()

    def side_by_side() -> tuple[list[Answer], float, float]:
        """The answers, and the neighbour's seconds meanwhile: the median, and the most."""
        with neighbour.calling() as seconds, ThreadPoolExecutor(CALLERS) as pool:
            answers = list(pool.map(lambda case: made(client, target, case.call), cases))
        return answers, statistics.median(seconds), max(seconds)

    answers, slow, slowest = side_by_side()
    wrong = [
        f"{case.name}: {', '.join(found)}: {answer}"
        for case, answer in zip(cases, answers, strict=True)
        if (found := list(complaints(case, answer, target)))
    ]
    assert not wrong, f"{len(wrong)} of {len(cases)} to {target}:\n" + "\n".join(wrong[:12])
    assert pids(client) == before, f"{target}: a worker is another"
    bound = max(SLOWER * usual, LEAST_SECONDS)
    for _ in range(2):  # calls that slow others do so every time; a machine with other work holds somebody up once
        if slow > bound or slowest > LONGEST_SECONDS:
            _, slow, slowest = side_by_side()
    assert slow <= bound, f"{target}: a neighbour's call took {slow:.2f} s, {usual:.2f} s without these calls"
    assert slowest <= LONGEST_SECONDS, f"{target}: a neighbour waited {slowest:.1f} s"
    return {case.name: answer for case, answer in zip(cases, answers, strict=True)}


def pids(client: Client) -> list[list[int]]:
    """Of every model's workers."""
    return [client.server.worker_pids(model) for model in BOTH.models]


def made(client: Client, target: Target, call: Call) -> Answer:
    """The answer to one call; a ticket is brought to the decoder, as an honest caller would."""
    try:
        answer = client.call(target, call)
        if answer.body.startswith(b"EDEN-TICKET"):
            drawn = client.call(BRING[target.protocol], Call(answer.body))
            return answer if drawn.code == 200 else drawn
        return answer
    except TimeoutError:
        return Answer(504, b"no answer came")


BRING = {target.protocol: target for target in READ_TICKETS}
INNOCENT = Call(media.encode_npy(moving_frames()))


class Neighbour:
    """Somebody who asks the same workers for a frame, again and again."""

    def __init__(self, client: Client, target: Target) -> None:
        self._client, self._target = client, target

    def usual(self) -> float:
        """Seconds of a call, the median of a few."""
        return statistics.median(self._call() for _ in range(3))

    @contextmanager
    def calling(self) -> Iterator[list[float]]:
        """Call until the block ends, at least once; the seconds that each call took are there then."""
        over = threading.Event()
        seconds: list[float] = []

        def call() -> None:
            while not (over.is_set() and seconds):
                seconds.append(self._call())
                over.wait(PAUSE)

        with ThreadPoolExecutor(1) as pool:
            calling = pool.submit(call)
            try:
                yield seconds
            finally:
                over.set()
                calling.result()

    def _call(self) -> float:
        started = time.monotonic()
        answer = self._client.call(self._target, INNOCENT)
        assert answer.body.startswith(media.NPY_MAGIC), f"a neighbour got {answer}"
        return time.monotonic() - started


def for_target(target: Target, cases: Iterable[Case]) -> list[Case]:
    """Those of a large table that are sent there: not all of them to each way in, since the same code reads them."""
    return [case for case in cases if target.takes(case.call)][:: target.step]
