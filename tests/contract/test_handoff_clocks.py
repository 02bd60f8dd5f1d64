"""Producer and consumer whose clocks are apart, and consumers that take their time."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import pytest

from handoff import TicketRejected, open_handoff
from tests.contract.peers import digest, make_output
from tests.contract.stage import Stage, start  # noqa: F401
from tests.contract.suite import Case, Start
from tests.contract.test_handoff_hosts import KINDS


@pytest.fixture
def case() -> Case:
    """What a ticket says of time is the same for every kind."""
    return Case("http")


def test_a_consumer_200_s_ahead_takes_what_lives_longer(start: Start) -> None:  # noqa: F811
    producer, consumer = start("producer", time_to_live_s=1000), start("consumer")
    consumer.ask("shift_clock", 200)
    assert consumer.ask("take", producer.ask("put", seed=1)) == digest(make_output(1))
    assert consumer.ask("warnings") == []


def test_a_consumer_200_s_ahead_says_that_the_clocks_differ_where_nothing_lives_so_long(start: Start) -> None:  # noqa: F811
    producer, consumer = start("producer", time_to_live_s=60), start("consumer")
    ticket = producer.ask("put", seed=1)
    consumer.ask("shift_clock", 200)
    with pytest.raises(TicketRejected, match=r"expired 1\d\d\.\d s ago: .* made 2\d\d\.\d s ago, and it lives 60 s"):
        consumer.ask("take", ticket)
    with pytest.raises(TicketRejected, match=r"the clocks of the two machines differ \(NTP\)"):
        consumer.ask("take", ticket)
    consumer.ask("shift_clock", -200)
    assert consumer.ask("take", ticket) == digest(make_output(1))


def test_a_consumer_200_s_behind_takes_all_and_warns_once(start: Start) -> None:  # noqa: F811
    producer, consumer = start("producer", time_to_live_s=60), start("consumer")
    consumer.ask("shift_clock", -200)
    for seed in range(3):
        assert consumer.ask("take", producer.ask("put", seed=seed)) == digest(make_output(seed))
    (warning,) = consumer.ask("warnings")
    assert re.match(r"a ticket was made (1\d\d|200)\.\d s from now: its producer's clock is ahead", warning)


def test_a_consumer_may_take_longer_over_each_pair_than_a_producer_may_be_silent(tmp_path: Path) -> None:
    """All kinds at the same time."""
    clip = {"seed": 5, "length": 12, "tokens": 1026, "width": 512}  # 50 MB: far more than any buffer on the way
    wanted = [digest(pair) for pair in make_output(**clip)]
    problems: list[BaseException] = []

    def consume(kind: str) -> None:
        stage = Stage(Case(kind), tmp_path / kind, Path("/dev/shm"))
        try:
            ticket = stage("producer", timeout_s=30).ask("put", **clip)
            with open_handoff(stage.settings(timeout_s=5)) as consumer:
                for number, pair in enumerate(consumer.stream(ticket)):
                    assert digest(pair) == wanted[number]
                    if number == 0:
                        time.sleep(6.5)
                assert number == len(wanted) - 1
        except BaseException as error:  # raised below, in the test's own thread
            problems.append(error)
        finally:
            stage.end()

    threads = [threading.Thread(target=consume, args=(kind,)) for kind in KINDS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]
