"""The journal of an unfinished result."""

from __future__ import annotations

import pytest

from eden_client.film.resume_journal import Entry, JournalError, open_journal

ORDER = {"input": ["a", 1, 2], "--times": 2}


def entry(number):
    return Entry(number, f"{number:06d}.nut", "1001/24000", 4, 2)


def begun(result, count=2):
    journal = open_journal(result, ORDER, resume=False, overwrite=False)
    for number in range(count):
        (journal.folder / f"{number:06d}.nut").write_text(str(number))
        journal.record(entry(number))
    return journal


def test_a_resumed_run_knows_what_is_done(tmp_path):
    journal = begun(tmp_path / "film.mp4")
    (journal.folder / "000002.nut").write_text("half-written")
    journal.close()
    again = open_journal(tmp_path / "film.mp4", ORDER, resume=True, overwrite=False)
    assert (again.done, again.frames) == ({0, 1}, 8)
    assert again.entries == [entry(0), entry(1)]
    assert sorted(path.name for path in again.folder.iterdir()) == ["000000.nut", "000001.nut", "journal.json"]
    again.discard()
    assert list(tmp_path.iterdir()) == []


def test_segments_may_end_in_any_order(tmp_path):
    journal = begun(tmp_path / "film.mp4", 1)
    for number in (3, 1):
        (journal.folder / f"{number:06d}.nut").write_text(str(number))
        journal.record(entry(number))
    journal.close()
    again = open_journal(tmp_path / "film.mp4", ORDER, resume=True, overwrite=False)
    assert [each.number for each in again.entries] == [0, 1, 3] and again.frames == 12


def test_resuming_nothing_begins(tmp_path):
    journal = open_journal(tmp_path / "film.mp4", ORDER, resume=True, overwrite=False)
    assert journal.done == frozenset()


def test_one_that_cannot_be_begun_leaves_nothing_behind(tmp_path):
    with pytest.raises(TypeError):  # stands for a full disk: the journal gets half its length
        open_journal(tmp_path / "film.mp4", ORDER | {"--fps": object()}, resume=False, overwrite=False)
    assert not list(tmp_path.iterdir())


def test_parts_are_not_thrown_away_unasked(tmp_path):
    begun(tmp_path / "film.mp4").close()
    with pytest.raises(JournalError, match="--resume"):
        open_journal(tmp_path / "film.mp4", ORDER, resume=False, overwrite=False)
    assert open_journal(tmp_path / "film.mp4", ORDER, resume=False, overwrite=True).done == frozenset()


def test_other_settings_do_not_go_on_with_these_parts(tmp_path):
    begun(tmp_path / "film.mp4").close()
    with pytest.raises(JournalError, match="another --times"):
        open_journal(tmp_path / "film.mp4", ORDER | {"--times": 4}, resume=True, overwrite=False)


def test_two_runs_do_not_share_a_workshop(tmp_path):
    journal = begun(tmp_path / "film.mp4")
    with pytest.raises(JournalError, match="another run"):
        open_journal(tmp_path / "film.mp4", ORDER, resume=True, overwrite=False)
    journal.close()
    open_journal(tmp_path / "film.mp4", ORDER, resume=True, overwrite=False).close()


def test_a_folder_of_somebody_elses_is_left_alone(tmp_path):
    folder = tmp_path / "film.mp4.parts"
    folder.mkdir()
    (folder / "precious").write_text("x")
    for overwrite in (False, True):
        with pytest.raises(JournalError, match="was not made by an earlier run"):
            open_journal(tmp_path / "film.mp4", ORDER, resume=not overwrite, overwrite=overwrite)
    assert (folder / "precious").exists()
