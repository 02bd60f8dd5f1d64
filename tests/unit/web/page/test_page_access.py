"""The page for everybody: by the keyboard alone, on a narrow screen, in light and dark, read aloud."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.unit.web.page.browsing import film_file, visiting

pytestmark = pytest.mark.slow


def fill(tab, film, name="walk.mp4"):
    """Have something in each part of the page."""
    tab.drop(film_file(film, name), ("notes.txt", b"no film"))
    tab.button("Make this film").click()
    expect(tab.video(name).locator(".state")).to_contain_text("Done")
    tab.page.get_by_text("File and quality").click()
    expect(tab.words).to_contain_text("does not answer")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_serious_stands_in_the_way(browser, emptied, film, scheme):
    with visiting(browser, emptied.url, color_scheme=scheme) as tab:
        fill(tab, film)
        found = Axe().run(tab.page).response
    assert len(found["passes"]) > 20
    serious = [each for each in found["violations"] if each["impact"] in ("serious", "critical")]
    assert not [(each["id"], [node["html"] for node in each["nodes"]]) for each in serious]


def test_a_narrow_screen_shows_all_of_it(browser, emptied, film):
    with visiting(browser, emptied.url, viewport={"width": 375, "height": 700}, has_touch=True) as tab:
        fill(tab, film, f"{'a long name ' * 8}{'W' * 60}.mp4")
        width, *sides = tab.page.evaluate(
            "() => [document.documentElement.scrollWidth, ...[...document.querySelectorAll('main *')]"
            ".filter((each) => each.checkVisibility() && !each.closest('.quiet, .stage, #cuts'))"
            ".map((each) => each.getBoundingClientRect().right)]"
        )
    assert width == 375 and max(sides) <= 375


def test_the_keyboard_is_enough(tab, film):
    page, press = tab.page, tab.page.keyboard.press
    page.on("filechooser", lambda chooser: chooser.set_files(film))

    def reach(name):
        """By the tabulator, from where the focus is."""
        for _ in range(60):
            press("Tab")
            if page.evaluate("() => document.activeElement.ariaLabel || document.activeElement.innerText") == name:
                return
        raise AssertionError(f"the tabulator does not reach {name}")

    reach("Choose films")
    press("Enter")
    expect(tab.words).to_contain_text("does not answer")
    reach("Position in the film")
    before = tab.text("#moment")
    press("ArrowRight")
    expect(page.locator("#moment")).not_to_have_text(before)
    reach("The frame between. Plus and minus zoom, arrow keys move the picture")
    press("+")
    press("ArrowLeft")
    expect(page.locator("#zoom")).to_have_text("200\u00a0%")
    reach("Where the two pictures meet")
    press("ArrowLeft")
    expect(page.locator("#divide")).to_have_value("49")
    press("Tab")
    press("ArrowRight")
    expect(page.locator("#over-name")).to_have_text("Blended")
    reach("Make this film")
    press("Enter")
    row = tab.video("in.mp4")
    expect(row.locator(".state")).to_contain_text("Done")
    reach("Remove in.mp4")
    press("Enter")
    expect(tab.videos).to_have_count(0)
