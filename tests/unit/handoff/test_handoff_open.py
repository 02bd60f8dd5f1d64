"""What a hand-off says when it cannot be set up, and what it leaves alone."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from eden import EncoderOutput
from handoff import HandoffError, HandoffSettings, OverCapacity, TicketRejected, open_handoff
from handoff.buffers.host import BufferPool, ReceiveBufferPool
from handoff.buffers.shared import segment_maker
from handoff.errors import PoolExhausted

pytestmark = pytest.mark.slow


def clip(tokens: int = 4) -> EncoderOutput:
    ones = torch.ones
    return EncoderOutput(ones(2, tokens, 8), ones(2, tokens, 8), ones(2), ones(2), ones(1), (2, 2), (32, 32))


def test_an_unknown_kind_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(HandoffError, match="'pigeon'; known are inline, shared_memory"):
        open_handoff(HandoffSettings(kind="pigeon", folder=tmp_path))


@pytest.mark.parametrize(
    ("name", "value"), [("wire", "int8"), ("budget_bytes", 0), ("time_to_live_s", -1), ("keep_taken", -1)]
)
def test_a_setting_that_makes_no_sense_is_named(name: str, value: object) -> None:
    with pytest.raises(HandoffError, match=name):
        HandoffSettings(**{name: value})


def test_shared_memory_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(HandoffError, match="nowhere, which is missing"):
        open_handoff(HandoffSettings(folder=tmp_path, shared_folder=tmp_path / "nowhere"))


def test_shared_memory_that_is_too_small_is_refused_not_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int, start: int, length: int) -> None:
        raise OSError(28, "No space left on device")

    settings = HandoffSettings(folder=tmp_path, shared_folder=tmp_path)
    with open_handoff(settings) as handoff:
        monkeypatch.setattr("os.posix_fallocate", full)
        with pytest.raises(OverCapacity, match="--shm-size"):
            handoff.put(clip())
        monkeypatch.undo()
        assert handoff.in_flight() == 0
        handoff.put(clip())


def test_inline_needs_no_shared_memory(tmp_path: Path) -> None:
    settings = HandoffSettings(kind="inline", folder=tmp_path, shared_folder=tmp_path / "nowhere")
    with open_handoff(settings) as handoff:
        assert torch.equal(handoff.take(handoff.put(clip())).cond_dit, clip().cond_dit)
        assert handoff.in_flight() == 0


def test_a_ticket_of_another_kind_is_refused(tmp_path: Path) -> None:
    inline = open_handoff(HandoffSettings(kind="inline", folder=tmp_path))
    shared = open_handoff(HandoffSettings(kind="shared_memory", folder=tmp_path))
    with inline, shared, pytest.raises(TicketRejected, match="goes by inline; this server takes shared_memory"):
        shared.take(inline.put(clip()))


def test_a_ticket_that_was_read_in_time_and_waited_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_handoff(HandoffSettings(kind="inline", folder=tmp_path, time_to_live_s=60)) as handoff:
        read = handoff.read(handoff.put(clip()))
        handoff.take(read)
        monkeypatch.setattr("handoff.ticket.time.time", lambda: read.deadline + 2)
        for take in (handoff.take, lambda late: next(handoff.stream(late))):
            with pytest.raises(TicketRejected, match=r"expired 2\.0 s ago"):
                take(read)
        assert handoff.counters["refused", "ticket"] == 2


def test_a_put_that_fails_holds_nothing(tmp_path: Path) -> None:
    with open_handoff(HandoffSettings(folder=tmp_path, max_in_flight=1)) as handoff:
        for _ in range(3):
            with pytest.raises(HandoffError, match="JSON"):
                handoff.put(clip(), options={"a": object()})
        assert handoff.in_flight() == 0
        handoff.put(clip())


def test_a_queue_is_what_was_put_after_what_was_taken(tmp_path: Path) -> None:
    with open_handoff(HandoffSettings(folder=tmp_path)) as handoff:
        abandoned = handoff.put(clip())
        assert handoff.queue() == []
        handoff.take(handoff.put(clip()))
        assert handoff.queue() == []
        before = time.time()
        tickets = [handoff.put(clip()) for _ in range(3)]
        first, second, third = handoff.queue()
        assert before <= first < second < third <= time.time()
        handoff.take(tickets[1])
        assert handoff.queue() == [third]
        assert handoff.in_flight() == 3
        handoff.take(abandoned)
        handoff.take(tickets[2])
        assert handoff.queue() == []


def test_the_pool_reuses_gives_back_and_keeps_its_budget(tmp_path: Path) -> None:
    pool = BufferPool(4 << 20, segment_maker(tmp_path, "0" * 32, gpu=None))
    first = pool.acquire("a", 900_000)
    pool.release("a")
    assert pool.acquire("b", 1_000_000) is first
    pool.acquire("c", 2 << 20)
    with pytest.raises(PoolExhausted, match="budget_bytes"):
        pool.acquire("d", 2 << 20)
    pool.release("b")
    pool.acquire("d", 2 << 20)  # the free one went: its size did not fit
    assert pool.nbytes == 4 << 20
    assert len(list(tmp_path.iterdir())) == 2
    pool.close()
    assert not list(tmp_path.iterdir())


def test_memory_comes_back_when_the_last_tensor_in_it_is_gone() -> None:
    landing = ReceiveBufferPool(keep=2 << 20, gpu=None)
    first = landing.acquire(1 << 20)
    place, view = first.data_ptr(), first[5:10]
    del first
    assert landing.acquire(1 << 20).data_ptr() != place  # the view still needs it
    view.fill_(7)
    del view
    assert place in {landing.acquire(1 << 20).data_ptr() for _ in range(1)} | {landing.acquire(1000_000).data_ptr()}
    kept = landing.acquire(1 << 20).fill_(3)
    landing.close()
    assert int(kept.sum()) == 3 << 20


def test_a_kind_loads_neither_the_libraries_of_another_nor_the_network(tmp_path: Path) -> None:
    code = (
        "import sys, handoff; from pathlib import Path\n"
        "handoff.open_handoff(handoff.HandoffSettings(kind='shared_memory', folder=Path(sys.argv[1]))).close()\n"
        "others = ('grpc', 'zmq', 'websockets', 'requests')\n"
        "print(sorted(name for name in sys.modules if name in others or name.partition('.')[0] == 'eden'))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['eden', 'eden.output']"


def test_what_a_stop_of_the_server_needs_loads_no_pytorch() -> None:
    code = "import sys, server.torchserve; print('handoff' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True False"
