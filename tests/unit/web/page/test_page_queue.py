"""Films that are dropped on the page and put into the queue: what is shown of them, and what can be done with them."""

from __future__ import annotations

import shutil

import av
import pytest
from playwright.sync_api import expect

from server.settings import Ports
from tests.unit.web.conftest import COUNT
from tests.unit.web.page.browsing import film_file, visiting
from tests.unit.web.services import held_up, running

pytestmark = pytest.mark.slow

ALL = 2 * COUNT - 1
SCRIPT = '<img src=x onerror="document.title=1"><script>document.title=2</script>.mp4'


def test_a_film_is_dropped_made_and_downloaded(tab, film, tmp_path):
    expect(tab.page.locator("#workbench, #queue")).to_have_count(2)
    expect(tab.page.locator("#workbench")).to_be_hidden()
    tab.drop(film_file(film, "walk.mp4"))
    expect(tab.page.locator("#film-title")).to_have_text("walk.mp4")
    expect(tab.page.locator("#film-facts")).to_have_text("64×48 · 25 frames per second · 0:02.40")
    expect(tab.page.locator("#outcome")).to_have_text("25 frames per second become 50.")
    tab.button("Make this film").click()
    row = tab.video("walk.mp4")
    expect(row.locator(".state")).to_contain_text(f"Done · {ALL} frames")
    with tab.page.expect_download() as download:
        row.get_by_role("link", name="Download walk.mp4").click()
    assert download.value.suggested_filename == "walk.mp4"
    download.value.save_as(tmp_path / "made.mp4")
    with av.open(tmp_path / "made.mp4") as made:
        assert sum(1 for _ in made.decode(video=0)) == ALL


def test_options_become_those_of_the_film(tab, visitor, film):
    tab.drop(film_file(film, "walk.mp4"))
    page = tab.page
    page.get_by_role("radio", name="Slow motion").check()
    page.get_by_role("radio", name="A quarter").check()
    expect(page.locator("#outcome")).to_contain_text("4 times as long, without sound")
    page.get_by_role("radio", name="Animation").check()
    page.get_by_text("File and quality").click()
    page.locator("[name=quality]").select_option("better")
    page.locator("[name=format]").select_option("gif")
    expect(page.locator("[name=quality]")).to_be_disabled()
    page.locator("[name=format]").select_option("mkv")
    tab.button("Make this film").click()
    row = tab.video("walk.mp4")
    expect(row.locator(".what")).to_have_text("4× slower · animation · mkv · better picture")
    expect(row.locator(".state")).to_contain_text("Done")
    (made,) = visitor.get("/v1/videos").json()["data"]
    chosen = {name: value for name, value in made["options"].items() if value is not None}
    assert chosen == {
        "slow_motion": 4,
        "preset": "animation",
        "format": "mkv",
        "quality": "better",
        "start": 0,
    }


def test_a_queue_of_three(tab, emptied, film, held):
    tab.drop(*(film_file(film, f"{name}.mp4") for name in ("first", "second", "third")))
    tab.button("Make all 3").click()
    first, second, third = (tab.video(f"{name}.mp4") for name in ("first", "second", "third"))
    expect(first.locator(".state")).to_contain_text("frames per second")
    expect(third.locator(".state")).to_have_text("Waiting behind 1 film")
    tab.button("Move up", third).click()
    expect(tab.videos.locator(".name")).to_have_text(["first.mp4", "third.mp4", "second.mp4"])
    tab.button("Pause", first).click()
    expect(first.locator(".state")).to_contain_text("Paused")
    expect(third.locator(".state")).to_contain_text("frames per second")
    tab.page.reload()
    expect(first.locator(".state")).to_contain_text("Paused")
    expect(tab.page.locator("#film-title")).to_have_text("first.mp4")
    held_up(emptied, third.get_attribute("data-video"))
    tab.button("Cancel", third).click()
    expect(third.locator(".state")).to_have_text("Cancelled; the finished part can be watched")
    expect(second.locator(".state")).to_contain_text("frames per second")
    held.unlink()
    tab.button("Resume", first).click()
    tab.button("Try again", third).click()
    expect(tab.page.locator("#queue-words")).to_have_text("All done")
    for row in (first, second, third):
        expect(row.locator(".state")).to_contain_text(f"Done · {ALL} frames")
    tab.button("Remove", second).click()
    expect(tab.videos).to_have_count(2)


def test_a_trial_comes_before_what_waits(tab, emptied, film, held):
    tab.drop(film_file(film, "walk.mp4"))
    make = tab.button("Make this film")
    make.click()
    expect(tab.videos).to_have_count(1)
    make.click()
    expect(tab.videos).to_have_count(2)
    tab.page.get_by_role("radio", name="4×").check()
    tab.button("Try 3 seconds from here").click()
    expect(tab.videos.locator(".what")).to_have_text(["2× · mp4", "4× · mp4 · 3 s from 0:00.00", "2× · mp4"])
    trial, *_ = emptied.get("/v1/videos").json()["data"]
    chosen = {name: trial["options"][name] for name in ("times", "start", "duration")}
    assert chosen == {"times": 4, "start": 0, "duration": 3}  # the film has less than that


def test_what_is_no_film_is_told_in_words(tab, film):
    tab.drop(("notes.mp4", b"not a film at all" * 100), film_file(film, "walk.mp4"))
    expect(tab.films.filter(has_text="notes.mp4")).to_contain_text("This file is not a film of an accepted kind: mp4")
    expect(tab.page.locator("#film-title")).to_have_text("walk.mp4")


def test_a_script_in_a_name_is_text(tab, film):
    tab.drop((SCRIPT, film.read_bytes()))
    expect(tab.page.locator("#film-title")).to_have_text(SCRIPT)
    tab.button("Make this film").click()
    expect(tab.video(SCRIPT).locator(".state")).to_contain_text("Done")
    expect(tab.page).to_have_title("EDEN: smoother films")
    assert tab.page.locator("main script, main img[src=x]").count() == 0


def test_the_page_goes_on_when_the_service_does(browser, tmp_path, film, held):
    port = Ports.free().inference  # which no outgoing call can take while the service is away
    with running(tmp_path / "web", port=port) as visitor, visiting(browser, visitor.url) as tab:
        tab.drop(film_file(film, "walk.mp4"))
        tab.button("Make this film").click()
        row = tab.video("walk.mp4")
        expect(row.locator(".state")).to_contain_text("frames per second")
        visitor.end()
        tab.button("Pause", row).click()
        expect(tab.notice).to_contain_text("The service does not answer")
        held.unlink()
        with running(tmp_path / "web", port=port):
            expect(row.locator(".state")).to_contain_text(f"Done · {ALL} frames")


def test_of_a_folder_that_is_dropped_the_films_are_taken(tab, film, tmp_path):
    for name in ("shots/10.mp4", "shots/2.mp4", "shots/more/1.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(film, tmp_path / name)
    (tmp_path / "shots/notes.txt").write_text("no film")
    tab.drop_from_disk(tmp_path / "shots")
    expect(tab.films).to_have_count(3)
    for row, name in enumerate(("1.mp4", "2.mp4", "10.mp4")):
        expect(tab.films.nth(row)).to_contain_text(name)
    (tmp_path / "nothing").mkdir()
    tab.drop_from_disk(tmp_path / "nothing")
    expect(tab.notice).to_contain_text("There is no film in this folder")
    expect(tab.films).to_have_count(3)
