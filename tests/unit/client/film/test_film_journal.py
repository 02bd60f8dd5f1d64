"""The journal of an unfinished result."""

from __future__ import annotations

import pytest

from eden_client.film.resume_journal import Entry, JournalError, open_journal

ORDER = {"input": ["a", 1, 2], "--times": 2}


def entry(number, gaps):
    return Entry(f"{number:06d}.nut", "1001/24000", 4, gaps, 2)


def begun(result, count=2):
    workshop = open_journal(result, ORDER, resume=False, overwrite=False)
    for number in range(count):
        (workshop.folder / f"{number:06d}.nut").write_text(str(number))
        workshop.record(entry(number, 4 * number + 4))
    return workshop


def test_a_resumed_run_knows_what_is_done(tmp_path):
    workshop = begun(tmp_path / "film.mp4")
    (workshop.folder / "000002.nut").write_text("half-written")
    workshop.close()
    again = open_journal(tmp_path / "film.mp4", ORDER, resume=True, overwrite=False)
    assert (again.gaps, again.frames) == (8, 8)
    assert again.entries == [entry(0, 4), entry(1, 8)]
    assert sorted(path.name for path in again.folder.iterdir()) == ["000000.nut", "000001.nut", "journal.json"]
    again.discard()
    assert list(tmp_path.iterdir()) == []


def test_resuming_nothing_begins(tmp_path):
    workshop = open_journal(tmp_path / "film.mp4", ORDER, resume=True, overwrite=False)
    assert workshop.gaps == 0


def test_one_that_cannot_be_begun_leaves_nothing_behind(tmp_path):
    with pytest.raises(TypeError):  # stands for a full disk: the journal gets half its length
        open_journal(tmp_path / "film.mp4", ORDER | {"--fps": object()}, resume=False, overwrite=False)
    assert not list(tmp_path.iterdir())


def test_parts_are_not_thrown_away_unasked(tmp_path):
    begun(tmp_path / "film.mp4").close()
    with pytest.raises(JournalError, match="--resume"):
        open_journal(tmp_path / "film.mp4", ORDER, resume=False, overwrite=False)
    assert open_journal(tmp_path / "film.mp4", ORDER, resume=False, overwrite=True).gaps == 0


def test_other_settings_do_not_go_on_with_these_parts(tmp_path):
    begun(tmp_path / "film.mp4").close()
    with pytest.raises(JournalError, match="another --times"):
        open_journal(tmp_path / "film.mp4", ORDER | {"--times": 4}, resume=True, overwrite=False)


def test_two_runs_do_not_share_a_workshop(tmp_path):
    workshop = begun(tmp_path / "film.mp4")
    with pytest.raises(JournalError, match="another run"):
        open_journal(tmp_path / "film.mp4", ORDER, resume=True, overwrite=False)
    workshop.close()
    open_journal(tmp_path / "film.mp4", ORDER, resume=True, overwrite=False).close()


def test_a_folder_of_somebody_elses_is_left_alone(tmp_path):
    folder = tmp_path / "film.mp4.parts"
    folder.mkdir()
    (folder / "precious").write_text("x")
    for overwrite in (False, True):
        with pytest.raises(JournalError, match="in the way"):
            open_journal(tmp_path / "film.mp4", ORDER, resume=not overwrite, overwrite=overwrite)
    assert (folder / "precious").exists()
