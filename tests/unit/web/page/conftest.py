"""One browser for all tests of the page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.unit.web.page.browsing import Tab, chromium, visiting
from tests.unit.web.services import Visitor


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def emptied(visitor: Visitor) -> Iterator[Visitor]:
    """The service of the file's tests, without videos of the test before."""
    yield visitor
    for video in visitor.get("/v1/videos").json()["data"]:
        visitor.delete(f"/v1/videos/{video['id']}")


@pytest.fixture
def tab(browser: Browser, emptied: Visitor) -> Iterator[Tab]:
    """The page, open."""
    with visiting(browser, emptied.url) as tab:
        yield tab
