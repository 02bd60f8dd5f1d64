"""Makes the pictures of the page in docs/: python -m bench.page.pictures

Opens the page of a service that is running (`make serve` and `make web`) in Chromium with its demo clip: in light
colours the frame between beside the original and a film that is done, in dark ones the same frame zoomed and a film
that is being made.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from media.signals import exit_when_told_to
from server.settings import PROJECT

WIDTH, HEIGHT = 800, 1000
"""Size of the window in CSS pixels; a picture shows the whole page, however long it is."""
PATIENCE_MS = 300_000
MOMENT = 8
"""The picture of the demo clip that the cursor stands on."""
CURSOR = "(cursor, number) => { cursor.value = number; cursor.dispatchEvent(new Event('input')); }"
"""Moves the cursor to a picture of the film."""
CHROMIUM = os.environ.get("EDEN_CHROMIUM") or shutil.which("chromium")
"""Path of the browser; None: there is none."""
NO_CHROMIUM = "Chromium is not installed (Debian: apt install chromium, or name one in EDEN_CHROMIUM)"


def open_clip(browser: Browser, url: str) -> Page:
    """The page with the demo clip, once the frame between at `MOMENT` is drawn."""
    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT})
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto(url)
    page.get_by_role("button", name="Try the demo clip").click()
    expect(page.locator("#stage-words")).to_contain_text("Drawn in")
    at = page.locator("#stage").get_attribute("data-at")
    page.locator("#cursor").evaluate(CURSOR, MOMENT)
    expect(page.locator("#stage")).not_to_have_attribute("data-at", at or "")
    expect(page.locator("#stage-words")).to_contain_text("Drawn in")
    expect(page.locator("#server")).to_have_attribute("data-status", "ready")
    return page


def make_film(page: Page) -> Locator:
    """Have a film of four times the frames made of it. Returns its row, the first of the queue."""
    rows = page.locator("#videos > li")
    count = rows.count()
    page.get_by_role("radio", name="4×").check()
    page.get_by_role("button", name="Make this film").click()
    expect(rows).to_have_count(count + 1)
    return rows.first


def light(page: Page, path: Path) -> None:
    """The frame between, twice the frames chosen, and a film that is done."""
    expect(make_film(page)).to_have_attribute("data-status", "completed")
    page.get_by_role("radio", name="2×").check()
    expect(page.locator("#server-facts")).to_contain_text("0 being made")
    page.emulate_media(color_scheme="light")
    page.screenshot(path=path, full_page=True)


def dark(page: Page, path: Path) -> None:
    """The frame between at four times its size, and a film that is being made."""
    for _ in range(2):
        page.locator("#zoom-in").click()
    row = make_film(page)
    expect(row).to_have_attribute("data-status", "in_progress")
    expect(row.locator(".state")).to_contain_text("left")
    expect(page.locator("#server-facts")).to_contain_text("1 being made")
    page.emulate_media(color_scheme="dark")
    page.screenshot(path=path, full_page=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.page.pictures", description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:8008", help="where the page is (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=PROJECT / "docs", help="folder of the two pictures (default: docs)")
    args = parser.parse_args()
    if CHROMIUM is None:
        raise SystemExit(NO_CHROMIUM)
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        page = open_clip(browser, args.url)
        light(page, args.out / "page-light.png")
        dark(page, args.out / "page-dark.png")
        browser.close()


if __name__ == "__main__":
    exit_when_told_to()
    main()
