"""A service with a token: the page asks for it once."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.unit.web.page.browsing import film_file, visiting
from tests.unit.web.services import running

pytestmark = pytest.mark.slow

TOKEN = "of sixteen letters"


def test_the_page_asks_for_the_token_once(browser, film, tmp_path):
    with running(tmp_path / "web", token=TOKEN) as visitor, visiting(browser, visitor.url) as tab:
        dialog = tab.page.get_by_role("dialog")
        expect(dialog).to_be_visible()
        for told in ("something else", TOKEN):
            dialog.get_by_label("Token").fill(told)
            tab.page.keyboard.press("Enter")
            if told != TOKEN:
                expect(dialog).to_contain_text("That token is wrong.")
        expect(dialog).to_be_hidden()
        tab.page.reload()
        tab.drop(film_file(film, "walk.mp4"))
        tab.button("Make this film").click()
        expect(tab.video("walk.mp4").locator(".state")).to_contain_text("Done")
        expect(dialog).to_be_hidden()
