"""The site can be built: no link in it leads nowhere, and nothing in it comes from another host."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from server.settings import PROJECT
from tests.unit.docs.pages import pages

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")


@pytest.mark.slow
def test_the_site(tmp_path: Path):
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path / "site")]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=PROJECT, env=quiet, capture_output=True, text=True, timeout=250)
    assert built.returncode == 0, built.stdout + built.stderr
    made = {page.relative_to(tmp_path / "site").as_posix(): page for page in (tmp_path / "site").rglob("*.html")}
    assert {f"{page}".replace(".md", ".html") for page in pages() if str(page).startswith("docs/")} <= made.keys()
    for name, page in made.items():
        loaded = re.findall(r"<(?:script|img|link|iframe)[^>]*(?:src|href)=\"?(https?:[^\" >]*)", page.read_text())
        assert not loaded, name
