"""Chromium, as a visitor of the page uses it: no time is waited for, only what is to be seen."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from bench.page.pictures import CHROMIUM, NO_CHROMIUM

PATIENCE_MS = 120_000
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")

WITHOUT = "--disable-features=" + ",".join(
    (
        "WebUIOmniboxPopup",
        "WebUIOmniboxAimPopup",
        "AimEnabled",
        "AvoidUnnecessaryBeforeUnloadCheckSync",
        "DestroyProfileOnBrowserClose",
        "HttpsUpgrades",
        "MediaRouter",
        "NetworkTimeServiceQuerying",
        "OptimizationHints",
        "PaintHolding",
        "PreconnectToSearch",
    )
)
"""Chromium loads the list under its address bar, two pages, with each window, though nobody sees it. The rest is what
Playwright does without: of several such options the last one counts."""

DROP = """([zone, files]) => {
    const dropped = new DataTransfer();
    for (const [name, data] of files) {
        dropped.items.add(new File([Uint8Array.from(atob(data), (each) => each.charCodeAt(0))], name));
    }
    const event = { dataTransfer: dropped, bubbles: true, cancelable: true };
    for (const kind of ["dragenter", "dragover", "drop"]) zone.dispatchEvent(new DragEvent(kind, event));
}"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser with a camera that films a moving picture; the test is skipped where none is installed."""
    if CHROMIUM is None:
        pytest.skip(NO_CHROMIUM)
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*CAMERA, WITHOUT])
        yield browser
        browser.close()


class Tab:
    """One visitor's view of the page."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.films, self.videos = page.locator("#films > li"), page.locator("#videos > li")
        self.notice, self.words = page.locator("#notice"), page.locator("#stage-words")
        self.cursor, self.watch = page.locator("#cursor"), page.locator("#watch")

    def button(self, name: str, within: Locator | None = None) -> Locator:
        return (within or self.page).get_by_role("button", name=name)

    def drop(self, *files: tuple[str, bytes]) -> None:
        told = [[name, base64.b64encode(data).decode()] for name, data in files]
        self.page.locator("#drop").evaluate(f"(zone, files) => ({DROP})([zone, files])", told)

    def drop_from_disk(self, *paths: Path) -> None:
        """Files and folders, as the system hands them to the browser."""
        zone = self.page.locator("#drop").bounding_box()
        assert zone is not None
        where = {"x": zone["x"] + zone["width"] / 2, "y": zone["y"] + zone["height"] / 2}
        dragged = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        session = self.page.context.new_cdp_session(self.page)
        for kind in ("dragEnter", "dragOver", "drop"):
            session.send("Input.dispatchDragEvent", {"type": kind, "data": dragged, **where})
        session.detach()

    def video(self, name: str) -> Locator:
        """The row of the queue of the film that is called so."""
        return self.videos.filter(has=self.page.get_by_text(name, exact=True))

    def text(self, selector: str) -> str:
        return self.page.locator(selector).inner_text()


@contextmanager
def visiting(browser: Browser, url: str, **options) -> Iterator[Tab]:
    """The page, open. Nothing of it may fail, nor be refused by its own policy."""
    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE_MS)
    page, wrong = context.new_page(), []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda told: wrong.append(told.text) if "Content Security Policy" in told.text else None)
    page.on("request", lambda made: None if made.url.startswith((url, "blob:")) else wrong.append(made.url))
    page.goto(url)
    yield Tab(page)
    context.close()
    assert not wrong


def film_file(path: Path, name: str) -> tuple[str, bytes]:
    """To be dropped by that name."""
    return name, path.read_bytes()
