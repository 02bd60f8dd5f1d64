"""Every page that people read, taken apart: its links, its code, and the commands in it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from server.settings import PROJECT

MADE = {"run", "build", "logs", "mutants", "model_store", "results", "data", "node_modules"}
"""Folders whose pages nobody writes by hand."""
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.+?)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    path: Path

    def __str__(self) -> str:
        return self.path.relative_to(PROJECT).as_posix()

    @cached_property
    def text(self) -> str:
        """All of it."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def prose(self) -> str:
        """All but fenced code."""
        return FENCE.sub("", self.text)

    @property
    def blocks(self) -> Iterator[tuple[str, str]]:
        """(language, code) of each fenced block, its indentation taken away."""
        for indent, language, code in FENCE.findall(self.text):
            yield language, re.sub(f"^{indent}", "", code, flags=re.MULTILINE)

    @property
    def spans(self) -> list[str]:
        """What stands in backticks, in one line each."""
        return [" ".join(span.split()) for span in SPAN.findall(self.prose)]

    @property
    def links(self) -> list[str]:
        """Targets of links and pictures."""
        return LINK.findall(SPAN.sub("``", self.prose))

    @cached_property
    def anchors(self) -> set[str]:
        """What its headings are called in links, where the site and GitHub agree on that."""
        headings = [LINK.sub(r"", heading) if "](" in heading else heading for heading in HEADING.findall(self.prose)]
        return {slug for slug in map(_slug, headings) if "--" not in slug}

    @property
    def code(self) -> Iterator[str]:
        """Lines of code, from blocks and from backticks; lines that go on with a backslash are one."""
        for _, block in self.blocks:
            yield from re.sub(r"\\\n\s*", " ", block).splitlines()
        yield from self.spans


def _slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).strip().replace(" ", "-")


def pages() -> list[Page]:
    """Of the project, by path."""
    return sorted((Page(path) for path in written_files() if path.suffix == ".md" and not path.is_symlink()), key=str)


def written_files() -> Iterator[Path]:
    """Whatever somebody wrote by hand."""
    for folder, inner, names in os.walk(PROJECT):
        inner[:] = [name for name in inner if not name.startswith(".") and name not in MADE]
        yield from (Path(folder) / name for name in names)
