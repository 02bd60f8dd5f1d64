"""A video is watched in the page, beside the film that it is made of."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.unit.web.page.browsing import film_file
from tests.unit.web.services import held_up

pytestmark = pytest.mark.slow


def test_a_video_plays_beside_its_film_in_step(tab, film):
    tab.drop(film_file(film, "walk.mp4"))
    tab.page.get_by_role("radio", name="Slow motion").check()
    tab.page.get_by_role("radio", name="An eighth").check()
    tab.button("Make this film").click()
    row = tab.video("walk.mp4")
    expect(row.locator(".state")).to_contain_text("Done")
    tab.button("Watch", row).click()
    expect(tab.page.locator("#watch-title")).to_be_focused()
    tab.page.wait_for_function("() => document.querySelector('#smooth').currentTime > 0.1")
    expect(tab.page.locator("#original-figure")).to_be_visible()
    tab.button("Pause", tab.watch).click()
    tab.page.locator("#watch-seek").fill("4")
    expect(tab.page.locator("#watch-words")).to_contain_text("0:04.00 of 0:18.9")
    tab.page.wait_for_function("() => Math.abs(document.querySelector('#original').currentTime - 0.5) < 0.01")
    tab.button("Play", tab.watch).click()
    tab.page.wait_for_function("() => document.querySelector('#original').currentTime > 0.6")
    tab.button("Close", tab.watch).click()
    expect(tab.watch).to_be_hidden()


def test_a_film_is_watched_while_it_is_made(tab, emptied, film, held):
    held.write_text("0")
    tab.drop(film_file(film, "walk.mp4"))
    tab.button("Try 3 seconds from here").click()
    expect(tab.page.locator("#watch-words")).to_contain_text("The first seconds are being made")
    held.write_text("")
    held_up(emptied, tab.video("walk.mp4").get_attribute("data-video"))
    tab.page.wait_for_function("() => document.querySelector('#smooth').currentTime > 0.2")
    expect(tab.page.locator("#watch-words")).to_contain_text(", so far")
    expect(tab.video("walk.mp4")).to_have_attribute("data-status", "in_progress")
    held.unlink()
    tab.page.wait_for_function("() => document.querySelector('#smooth').ended")
    expect(tab.page.locator("#watch-words")).to_have_text("0:02.38 of 0:02.38")
    tab.page.wait_for_function("() => document.querySelector('#original').currentTime > 2.2")
