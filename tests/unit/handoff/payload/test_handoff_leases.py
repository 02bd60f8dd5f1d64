"""Slots, locks, and the sweep after a death."""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from handoff import HandoffError, HandoffSettings, OverCapacity, PayloadGone, PeerLost, open_handoff
from handoff.payload import leases
from handoff.payload.leases import PayloadLeases, ledger_path, read_lease, sweep

ONE, TWO = "1" * 32, "2" * 32


SOMEBODY = 65_534


@contextlib.contextmanager
def opened() -> Iterator[list[str]]:
    """The names of the files that this thread opens meanwhile."""
    names: list[str] = []
    here = threading.get_ident()

    def watched(function: Callable[..., object]) -> Callable[..., object]:
        def noted(file: object, *arguments: object, **named: object) -> object:
            if threading.get_ident() == here:
                names.append(Path(str(file)).name)
            return function(file, *arguments, **named)

        return noted

    with pytest.MonkeyPatch.context() as patch:
        for module in (os, io, builtins):
            patch.setattr(module, "open", watched(module.open))
        yield names


def die(ledger: PayloadLeases) -> None:
    os.close(ledger._file)  # what the kernel does at a kill


def test_a_payload_is_not_retired_while_it_is_read(tmp_path: Path) -> None:
    ledger = PayloadLeases([tmp_path])
    slot = ledger.enter(ONE)
    with read_lease([tmp_path], ledger.producer, slot, ONE) as held, read_lease([tmp_path], ledger.producer, slot, ONE):
        assert not ledger.retire(slot)
        assert ledger.taken() == set()
        held.mark_taken()
        assert ledger.taken() == {slot}
    assert ledger.retire(slot)
    with pytest.raises(PayloadGone), read_lease([tmp_path], ledger.producer, slot, ONE):
        pass
    ledger.close()


def test_a_ledger_is_its_users_alone_and_has_its_name_once_it_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve, meanwhile = os.posix_fallocate, list[str]()

    def watched(file: int, start: int, length: int) -> None:
        meanwhile.extend(path.name for path in folder.iterdir())
        reserve(file, start, length)

    folder = tmp_path / "state" / "of a server"
    monkeypatch.setattr(os, "posix_fallocate", watched)
    ledger = PayloadLeases([folder], slots=5)
    assert meanwhile == [f"eden-handoff-{ledger.producer}.new"]
    assert list(folder.iterdir()) == [ledger.path] == [ledger_path(folder, ledger.producer)]
    assert ledger.path.stat().st_size == 64 + 5 * 32
    assert ledger.path.stat().st_mode & 0o177 == 0
    ledger.close()
    assert not list(folder.iterdir())


@pytest.mark.parametrize(("code", "error"), [(errno.ENOSPC, OverCapacity), (errno.EACCES, HandoffError)])
def test_a_ledger_is_in_the_first_folder_that_takes_it(
    code: int,
    error: type[HandoffError],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folders = [tmp_path / name for name in ("full", "full too", "free")]
    reserve, left = os.posix_fallocate, [2]

    def refuse(file: int, start: int, length: int) -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise OSError(code, os.strerror(code))
        reserve(file, start, length)

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    ledger = PayloadLeases(folders)
    assert ledger.path.parent == folders[2]
    assert [str(folder) in record.getMessage() for folder, record in zip(folders, caplog.records, strict=False)] == [
        True
    ] * 2
    ledger.close()
    left[0] = 3
    with pytest.raises(error, match=str(folders[2])):
        PayloadLeases(folders)
    assert not [path for folder in folders for path in folder.iterdir()]


def test_who_reads_one_payload_holds_up_no_other(tmp_path: Path) -> None:
    ledger = PayloadLeases([tmp_path])
    slots = [ledger.enter(f"{number:032x}") for number in range(1, 5)]
    assert len(set(slots)) == 4
    with read_lease([tmp_path], ledger.producer, slots[1], f"{2:032x}") as held:
        assert [ledger.being_read(slot) for slot in slots] == [False, True, False, False]
        held.mark_taken()
        assert ledger.taken() == {slots[1]}
        assert [ledger.retire(slot) for slot in slots] == [True, False, True, True]
    assert {ledger.enter(f"{number:032x}") for number in range(5, 8)} == {slots[0], slots[2], slots[3]}
    assert ledger.taken() == {slots[1]}
    ledger.close()


def test_a_late_mark_on_a_slot_since_reused_means_nothing(tmp_path: Path) -> None:
    ledger = PayloadLeases([tmp_path])
    slot = ledger.enter(ONE)
    assert ledger.retire(slot)
    assert ledger.enter(TWO) == slot
    late = os.open(ledger.path, os.O_RDWR)
    os.pwrite(late, bytes.fromhex(ONE), 64 + 32 * slot + 16)
    os.close(late)
    assert ledger.taken() == set()
    ledger.close()


def test_a_dead_producer_is_lost_and_swept_a_living_one_is_not(tmp_path: Path) -> None:
    dead, living = PayloadLeases([tmp_path]), PayloadLeases([tmp_path])
    slot = dead.enter(ONE)
    segment = tmp_path / f"eden-handoff-{dead.producer}.0.segment"
    orphan = tmp_path / f"eden-handoff-{TWO}.0.segment"
    kept = tmp_path / f"eden-handoff-{living.producer}.0.segment"
    for path in (segment, orphan, kept):
        path.touch()
    assert sweep(tmp_path) == 1  # the orphan alone
    die(dead)
    with pytest.raises(PeerLost, match="died"), read_lease([tmp_path], dead.producer, slot, ONE):
        pass
    with opened() as names:
        assert sweep(tmp_path) == 2
    assert ledger_path(tmp_path, dead.producer).name in names
    assert {path.name for path in tmp_path.iterdir()} == {ledger_path(tmp_path, living.producer).name, kept.name}
    with pytest.raises(PeerLost, match="ended"), read_lease([tmp_path], dead.producer, slot, ONE):
        pass
    living.close()


@pytest.mark.parametrize("usable", [True, False])
def test_a_consumer_says_whether_it_can_read_the_gpus_memory(tmp_path: Path, usable: bool) -> None:
    ledger = PayloadLeases([tmp_path])
    slot = ledger.enter(ONE)
    assert not ledger.proved and not ledger.refused
    with read_lease([tmp_path], ledger.producer, slot, ONE) as held:
        held.report(usable=usable)
        assert (ledger.proved, ledger.refused) == (usable, not usable)
        assert ledger.being_read(slot) and ledger.taken() == set()
    assert not ledger.being_read(slot)
    ledger.close()


def test_a_reader_sees_whether_the_producer_lives(tmp_path: Path) -> None:
    ledger = PayloadLeases([tmp_path])
    with read_lease([tmp_path], ledger.producer, ledger.enter(ONE), ONE) as held:
        assert held.producer_lives()
        die(ledger)
        assert not held.producer_lives()


def test_a_producer_is_no_path(tmp_path: Path) -> None:
    with pytest.raises(PeerLost), read_lease([tmp_path], "../../etc/passwd", 0, ONE):
        pass


def test_a_producer_that_is_just_starting_is_not_swept(tmp_path: Path) -> None:
    (tmp_path / f"eden-handoff-{ONE}.new").touch()
    assert sweep(tmp_path) == 0


def test_what_stopped_before_it_had_started_is_swept(tmp_path: Path) -> None:
    left = tmp_path / f"eden-handoff-{ONE}.new"
    left.touch()
    long_ago = left.stat().st_mtime - 61
    os.utime(left, (long_ago, long_ago))
    assert sweep(tmp_path) == 1
    assert not left.exists()


def test_what_another_process_removes_first_is_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"eden-handoff-{ONE}.0.segment", f"eden-handoff-{TWO}.ledger", f"eden-handoff-{TWO}.1.segment"]
    gone, *left = [tmp_path / name for name in names]
    monkeypatch.setattr(Path, "glob", lambda folder, pattern: [gone, *left])
    for path in left:
        path.touch()
    assert sweep(tmp_path) == 2
    monkeypatch.setattr(leases, "left_behind", lambda folder: [gone])
    assert sweep(tmp_path) == 0


@pytest.mark.parametrize(("error", "told"), [(PermissionError, "is left alone"), (FileNotFoundError, "")])
def test_a_ledger_that_cannot_be_opened_is_left_alone(
    error: type[OSError], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(path: object, flags: int) -> int:
        raise error(path)

    dead = PayloadLeases([tmp_path])
    die(dead)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        assert sweep(tmp_path) == 0
    assert [told in record.getMessage() for record in caplog.records] == [True] * bool(told)
    assert sweep(tmp_path) == 1


def test_what_cannot_be_removed_is_told_and_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(path)

    left = tmp_path / f"eden-handoff-{ONE}.0.segment"
    left.touch()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        assert sweep(tmp_path) == 0
    assert f"{left}, left behind" in caplog.text
    assert sweep(tmp_path) == 1


LEFT_BEHIND = [f"eden-handoff-{ONE}.ledger", f"eden-handoff-{ONE}.0.segment", f"eden-handoff-{TWO}.3.segment"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_what_another_user_left_is_neither_opened_nor_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "handoff")
    for name in (*LEFT_BEHIND, f"eden-handoff-{TWO}.new"):
        path = tmp_path / name
        path.touch(mode=0o600)
        os.chown(path, SOMEBODY, SOMEBODY)
    os.utime(tmp_path / f"eden-handoff-{TWO}.new", (0, 0))  # old enough to count as left behind
    mine = tmp_path / f"eden-handoff-{'3' * 32}.0.segment"
    mine.touch()
    before = set(tmp_path.iterdir())
    with opened() as names:
        assert sweep(tmp_path) == 1
    assert set(tmp_path.iterdir()) == before - {mine}
    assert not [name for name in names if name.startswith("eden-handoff-")]
    assert "4 files that are not ours" in caplog.text
    with open_handoff(HandoffSettings(folder=tmp_path / "state", shared_folder=tmp_path)):
        assert set(tmp_path.iterdir()) - {tmp_path / "state"} == before - {mine}


@pytest.mark.parametrize("name", LEFT_BEHIND)
@pytest.mark.parametrize("kind", ["link", "broken link", "folder", "pipe", "socket"])
def test_what_is_no_regular_file_is_left_alone(name: str, kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    path, elsewhere = folder / name, tmp_path / "elsewhere"
    if kind == "link":
        elsewhere.write_text("precious")
        path.symlink_to(elsewhere)
    elif kind == "broken link":
        path.symlink_to(tmp_path / "nowhere")
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        with socket.socket(socket.AF_UNIX) as listener, contextlib.chdir(folder):  # its whole path would be too long
            listener.bind(name)
    with opened() as names:
        assert sweep(folder) == 0
    assert names in ([], [folder.name])
    assert path.lstat()
    assert kind != "link" or elsewhere.read_text() == "precious"


def test_what_has_another_name_is_left_alone(tmp_path: Path) -> None:
    for name in ("eden-handoff-notes.segment", f"eden-handoff-{ONE}.0.segment.bak", "eden-handoff-.ledger"):
        (tmp_path / name).touch()
    before = set(tmp_path.iterdir())
    assert sweep(tmp_path) == 0
    assert set(tmp_path.iterdir()) == before


def test_two_that_sweep_at_once_do_not_trip_over_each_other(tmp_path: Path) -> None:
    names = [f"eden-handoff-{number:032x}.0.segment" for number in range(400)]
    for name in names:
        (tmp_path / name).touch()
    counts: list[int] = []
    threads = [threading.Thread(target=lambda: counts.append(sweep(tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == len(names)
    assert not list(tmp_path.iterdir())
