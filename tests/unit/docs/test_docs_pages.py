"""What pages name is there: files, folders, tests, other pages and their headings."""

from __future__ import annotations

import re

import pytest

from server.settings import PROJECT
from tests.unit.docs.pages import Page, pages, written_files

PAGES = pages()
TODAYS = [page for page in PAGES if page.path.name != "CHANGELOG.md"]
"""What names what there is, and not what there was."""
PLACES = {path.name for path in PROJECT.iterdir() if not path.name.startswith(".")}
MADE = ("run", "model_store", "logs", "weights/eden.pt", "eden/b")
"""What commands make or a reader brings, and a server's name to HAProxy: named, and not there."""
TESTS = {
    name
    for path in (PROJECT / "tests").rglob("test_*.py")
    for name in (path.stem, *re.findall(r"^\s*(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE))
}


def test_there_are_pages():
    assert {"README.md", "docs/index.md", "docs/model.md", "training/README.md"} <= {str(page) for page in PAGES}


def test_the_readme_is_read_in_minutes():
    assert len((PROJECT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page: Page):
    lost = []
    for link in page.links:
        if re.match(r"[a-z]+:", link):
            continue
        place, _, anchor = link.partition("#")
        target = (page.path.parent / place).resolve() if place else page.path
        found = target.is_file() and target.is_relative_to(PROJECT)
        if not found or (anchor and anchor not in Page(target).anchors):
            lost.append(link)
    assert not lost


@pytest.mark.parametrize("page", TODAYS, ids=str)
def test_files_that_are_named_are_there(page: Page):
    named = {part for code in page.spans for part in re.split(r"[\s=,]+", code) if _is_ours(part)}
    lost = {part for part in named if not _is_there(page, part.rstrip("/.:"))}
    assert not lost


@pytest.mark.parametrize("page", TODAYS, ids=str)
def test_tests_that_are_named_are_there(page: Page):
    named = {span.removesuffix("...") for span in page.spans if re.fullmatch(r"test_\w+(\.\.\.)?(\.py)?", span)}
    lost = {name for name in named if not any(test.startswith(name.removesuffix(".py")) for test in TESTS)}
    assert not lost


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_lists_and_tables_begin_after_an_empty_line(page: Page):
    """As the site's Markdown has it; GitHub's does not mind."""
    begun = re.findall(r"^(?![ |#>-]|\d+\. ).*\S.*\n(?:- |\d+\. |\|).*$", page.prose, re.MULTILINE)
    assert not begun


def test_pages_that_the_code_names_are_there():
    """And the headings that docstrings cite: docs/model.md: "DiT"."""
    kinds = {".py", ".js", ".html", ".yaml", ".yml", ".toml", ".cfg", ".properties", ".sh"}
    files = [path for path in written_files() if path.suffix in kinds]
    headings = {str(page): set(re.findall(r"^#+ (.+)$", page.prose, re.MULTILINE)) for page in PAGES}
    named = 0
    for path in files:
        for page, cited in re.findall(r"(docs/[\w-]+\.md)((?:[:,] \"[^\"]+\")*)", path.read_text(encoding="utf-8")):
            named += 1
            assert page in headings, path
            assert set(re.findall(r"\"([^\"]+)\"", cited)) <= headings[page], path
    assert len(files) > 500
    assert named > 30


def test_the_index_and_the_site_name_every_page():
    index = next(page for page in PAGES if str(page) == "docs/index.md")
    others = [page for page in PAGES if page.path.parent == index.path.parent and page != index]
    assert set(index.links) >= {page.path.name for page in others}
    assert set(re.findall(r"\S+\.md", (PROJECT / "mkdocs.yml").read_text())) >= {str(page) for page in others}


def _is_ours(part: str) -> bool:
    """Whether it is a path from the project's folder on."""
    first, slash, _ = part.removeprefix("./").partition("/")
    return bool(slash) and first in PLACES and bool(re.fullmatch(r"[\w./*\\-]+", part))


def _is_there(page: Page, part: str) -> bool:
    place = part.removeprefix("./").replace("\\", "")
    if place.startswith(MADE):
        return True
    names = (place, f"{place}.*")  # some commands write several files of one name
    return any(any(folder.glob(name)) for folder in (PROJECT, page.path.parent) for name in names)
