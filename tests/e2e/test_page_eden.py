"""The page beside a real EDEN server: the frame under the cursor, a film and a trial of it, live, and a restart."""

from __future__ import annotations

import base64
import io
import re
import sys

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from bench.page import pictures
from tests.e2e.client_films import CLIP, client_of, long_clip, look_at, options_for, run, write_film
from tests.unit.web.page.browsing import chromium, film_file, visiting
from tests.unit.web.services import held_up, running

WORKER = (sys.executable, "-m", "tests.e2e.held_film")
FRAMES = [*CLIP[:10], *(255 - frame for frame in CLIP[:14])]
"""With a cut behind the tenth."""
ONE_CALL = ("--window", "1")
"""At a time: how the server's sums are rounded depends on which calls share a batch."""
LONG = 40
"""Frames of a film that is held in its middle."""


@pytest.fixture(scope="module")
def visitor(own_server, tmp_path_factory):
    told = (*options_for(own_server), *ONE_CALL)
    with running(tmp_path_factory.mktemp("web") / "web", command=WORKER, film_options=told) as visitor:
        yield visitor


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


@pytest.fixture
def tab(browser, visitor):
    with visiting(browser, visitor.url) as tab:
        yield tab


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_film(tmp_path_factory.mktemp("film") / "in.mp4", FRAMES)


PIXELS = """(image) => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    canvas.getContext("2d").drawImage(image, 0, 0);
    return canvas.toDataURL("image/png").split(",")[1];
}"""


def shown(tab, image):
    """The pixels of a picture of the page."""
    data = base64.b64decode(tab.page.locator(image).evaluate(PIXELS))
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def set_cursor(tab, number):
    """And wait for what is drawn there."""
    tab.cursor.evaluate(pictures.CURSOR, number)
    expect(tab.page.locator("#stage")).to_have_attribute("data-at", f"{(number + 0.5) / 24:.6f}")


def test_the_pair_under_the_cursor_is_drawn_at_once(tab, own_server, film):
    frames = look_at(film).frames
    tab.drop(film_file(film, "toys.mp4"))
    expect(tab.words).to_contain_text("Drawn in")
    expect(tab.page.locator("#cut-count")).to_have_text("1 cut")
    set_cursor(tab, 3)
    with client_of(own_server) as client:
        between = client.interpolate_pair(frames[3], frames[4]).astype(int)
    assert np.abs(shown(tab, "#under-picture") - between).max() <= 1
    assert np.abs(shown(tab, "#over-picture") - frames[3]).max() <= 1
    tab.page.get_by_role("radio", name="Blended").check()
    expect(tab.page.locator("#over-name")).to_have_text("Blended")
    both = (frames[3].astype(int) + frames[4]) / 2
    assert np.abs(shown(tab, "#over-picture") - both).max() <= 1
    set_cursor(tab, 9)
    expect(tab.words).to_contain_text("A cut: nothing is drawn")


def test_a_film_made_by_the_page_is_that_of_the_command(tab, own_server, film, tmp_path):
    tab.drop(film_file(film, "toys.mp4"))
    tab.button("Make this film").click()
    row = tab.video("toys.mp4")
    expect(row.locator(".state")).to_contain_text("Done")
    with tab.page.expect_download() as download:
        row.get_by_role("link", name="Download toys.mp4").click()
    download.value.save_as(tmp_path / "by-page.mp4")
    assert run(own_server, film, tmp_path / "by-command.mp4", *ONE_CALL) == 0
    assert (tmp_path / "by-page.mp4").read_bytes() == (tmp_path / "by-command.mp4").read_bytes()
    tab.button("Remove", row).click()
    expect(tab.videos).to_have_count(0)


def test_a_camera_is_shown_at_more_than_its_rate(tab):
    tab.button("Use the camera").click()
    out = "document.querySelector('#live-out').dataset"
    tab.page.wait_for_function(f"() => {out}.shown >= 20 && {out}.drawn >= 1")
    expect(tab.page.locator("#live-words")).to_have_text(re.compile(r"^Delay \d+ ms"))
    expect(tab.page.locator("#live-out-rate")).to_contain_text("of them drawn")
    tab.button("Stop").click()
    expect(tab.page.locator("#live-view")).to_be_hidden()


def test_the_page_tells_what_the_server_does(tab, own_server):
    expect(tab.page.locator("#server")).to_have_attribute("data-status", "ready")
    expect(tab.page.locator("#server-facts")).to_contain_text("1 of 1 worker")


def test_the_pictures_of_the_documentation_are_made(browser, own_server, tmp_path, monkeypatch):
    hold = tmp_path / "hold"
    monkeypatch.setenv("HOLD", str(hold))
    with running(tmp_path / "web", film_options=options_for(own_server)) as visitor:
        page = pictures.open_clip(browser, visitor.url)
        pictures.light(page, tmp_path / "light.png")
        hold.touch()  # the film of this one is shown while it is being made
        pictures.dark(page, tmp_path / "dark.png")
    light, dark = (np.asarray(Image.open(tmp_path / f"{name}.png").convert("L")) for name in ("light", "dark"))
    assert light.shape[1] == dark.shape[1] == pictures.WIDTH
    assert np.median(light) > 200 and np.median(dark) < 60


def test_a_restart_of_the_eden_server_in_mid_job(tab, visitor, own_server, tmp_path, monkeypatch):
    hold = tmp_path / "hold"
    hold.touch()
    monkeypatch.setenv("HOLD", str(hold))
    long = write_film(tmp_path / "in.mp4", long_clip(LONG))
    tab.drop(film_file(long, "long.mp4"))
    tab.button("Make this film").click()
    row = tab.video("long.mp4")
    expect(row).to_have_attribute("data-status", "in_progress")
    id_ = row.get_attribute("data-video")
    held_up(visitor, id_)
    own_server.stop()
    tab.cursor.press("ArrowRight")
    expect(tab.words).to_contain_text(f"The EDEN server at {own_server.url} does not answer")
    hold.unlink()
    visitor.until(id_, lambda video: any("trying again" in note for note in video["notes"]))
    own_server.start()
    tab.cursor.press("ArrowRight")
    expect(tab.words).to_contain_text("Drawn in")
    expect(row.locator(".state")).to_contain_text(f"Done · {2 * LONG - 1} frames")
