"""Makes the pictures of the page in docs/: python -m bench.page.pictures

Opens the page of a service that is running (`make serve` and `make web`) in Chromium, once light and once dark, with
its demo clip: the frame between beside the original, and the queue with a film in it.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

from media.signals import exit_when_told_to
from server.settings import PROJECT

WIDTH, HEIGHT = 800, 1000
"""Of the window, in CSS pixels; a picture shows the whole page, however long it is."""
PATIENCE_MS = 300_000
MOMENT = 8
"""The picture of the demo clip that the cursor stands on."""
CURSOR = "(cursor, number) => { cursor.value = number; cursor.dispatchEvent(new Event('input')); }"


def open_clip(browser: Browser, url: str, scheme: str) -> Page:
    """The page with the demo clip, once the frame between at `MOMENT` is drawn; `scheme` is light or dark."""
    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme)  # type: ignore[arg-type]
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


def make_film(page: Page) -> None:
    """Have a film of four times the frames made of it, which is then the first of the queue."""
    page.get_by_role("radio", name="4×").check()
    page.get_by_role("button", name="Make this film").click()


def light(browser: Browser, url: str, path: Path) -> None:
    """The frame between, twice the frames chosen, and a film that is done."""
    page = open_clip(browser, url, "light")
    make_film(page)
    expect(page.locator("#videos > li").first).to_have_attribute("data-status", "completed")
    page.get_by_role("radio", name="2×").check()
    expect(page.locator("#server-facts")).to_contain_text("0 being made")
    page.screenshot(path=path, full_page=True)
    page.context.close()


def dark(browser: Browser, url: str, path: Path) -> None:
    """The frame between at four times its size, and a film that is being made."""
    page = open_clip(browser, url, "dark")
    for _ in range(2):
        page.locator("#zoom-in").click()
    make_film(page)
    row = page.locator("#videos > li").first
    expect(row).to_have_attribute("data-status", "in_progress")
    expect(row.locator(".state")).to_contain_text("left")
    expect(page.locator("#server-facts")).to_contain_text("1 being made")
    page.screenshot(path=path, full_page=True)
    page.context.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.page.pictures", description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:8008", help="where the page is (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=PROJECT / "docs", help="folder of the two pictures (default: docs)")
    args = parser.parse_args()
    chromium = os.environ.get("EDEN_CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        raise SystemExit("Chromium is not installed (Debian: apt install chromium, or name one in EDEN_CHROMIUM)")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        light(browser, args.url, args.out / "page-light.png")
        dark(browser, args.url, args.out / "page-dark.png")
        browser.close()


if __name__ == "__main__":
    exit_when_told_to()
    main()
