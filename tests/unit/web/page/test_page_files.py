"""The page's own files: all of them are packed, nothing in them comes from elsewhere, and the browser is told so."""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatch
from html.parser import HTMLParser
from http.client import HTTPConnection

import pytest

from server.settings import PROJECT
from tests.unit.web.services import PATIENCE, running
from web.page import FOLDER

FILES = [path for path in FOLDER.rglob("*") if path.is_file()]


def test_all_are_packed():
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["web"]
    names = [path.relative_to(FOLDER.parent) for path in FILES]
    assert {"index.html", "style.css", "demo.mp4", "main.js"} <= {name.name for name in names}
    assert not [name for name in names if not any(name.match(each) for each in settings)]


def test_nothing_is_fetched_from_elsewhere():
    hosts = {
        host
        for path in FILES
        if path.suffix != ".mp4"
        for host in re.findall(r"(?:https?:|wss?:|[\"'(])//([\w.-]+)", path.read_text())
    }
    assert hosts <= {"www.w3.org", "tus.io"}  # the name of SVG, and a word on uploads


def test_its_markup_holds_no_script_and_no_style():
    class Inline(HTMLParser):
        found: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag, attrs):
            names = dict(attrs)
            bad = tag == "style" or (tag == "script" and "src" not in names)
            self.found += [tag] if bad else [name for name in names if fnmatch(name, "on*") or name == "style"]

    reader = Inline()
    reader.feed((FOLDER / "index.html").read_text())
    assert reader.found == []


def test_the_browser_is_told_to_run_nothing_else(idle):
    page = idle.get("/")
    assert page.status_code == 200 and page.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(each.split(" ", 1) for each in page.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'self'" and not {"script-src", "style-src", "connect-src"} & set(policy)
    assert policy["frame-ancestors"] == policy["object-src"] == policy["base-uri"] == "'none'"
    assert not re.search(r"unsafe|\*|https?:", page.headers["content-security-policy"])
    assert page.headers["x-content-type-options"] == "nosniff"
    assert idle.get("/v1/videos").headers["content-security-policy"].startswith("default-src 'none'")
    script = idle.get("/js/main.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert idle.get("/js/main.js", headers={"If-None-Match": script.headers["etag"]}).status_code == 304


@pytest.mark.parametrize(
    "path", ["/page.py", "/../page.py", "/%2e%2e/page.py", "/js/..%2f..%2fpage.py", "//etc/hosts", "/js"]
)
def test_no_other_file_is_given_out(idle, path):
    connection = HTTPConnection(idle.url.removeprefix("http://"), timeout=PATIENCE)
    connection.request("GET", path)  # as it is: others tidy it up
    assert connection.getresponse().status == 404
    connection.close()


def test_who_has_no_token_yet_gets_the_page_and_no_more(tmp_path):
    with running(tmp_path / "web", token="of sixteen letters", at_once=0) as visitor:
        assert visitor.get("/").status_code == visitor.get("/js/main.js").status_code == 200
        for path in ("/v1/videos", "/v1/events", "/v1/uploads/" + "0" * 32 + "/film", "/openapi.json"):
            assert visitor.get(path).status_code == 401, path
        assert visitor.post("/v1/videos").status_code == 401
