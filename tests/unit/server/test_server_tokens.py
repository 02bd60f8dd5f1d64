"""Tokens that expire, renewed by many callers at once."""

import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from server.tokens import Tokens
from tests.key_files import write_key_file
from tests.serving_thread import serving


class Renewing(ThreadingHTTPServer):
    """Does what TorchServe does at GET /token: writes a new key, which voids the old one."""

    def __init__(self, folder):
        self.file = folder / "key_file.json"
        self.asked = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked.append((self.path, self.headers["Authorization"]))
                time.sleep(0.05)  # long enough for the others to come
                outer.write(f"key {len(outer.asked)}", minutes=60)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args):
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    def write(self, key, minutes):
        write_key_file(self.file, key, 60 * minutes, api="the API's")


@pytest.fixture
def renewing(tmp_path):
    with serving(Renewing(tmp_path)) as server:
        yield server


def test_of_many_callers_one_renews_and_all_get_the_token_that_holds(renewing, tmp_path):
    renewing.write("old", minutes=0)
    url = f"http://127.0.0.1:{renewing.server_port}"
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda _: Tokens(tmp_path, url).get(), range(16)))
    assert got == ["key 1"] * 16
    assert renewing.asked == [("/token?type=inference", "Bearer the API's")]
    assert Tokens(tmp_path, url).headers("management") == {"Authorization": "Bearer key 1"}


def test_without_a_key_file_no_token_is_wanted(tmp_path):
    assert Tokens(tmp_path, "http://127.0.0.1:1").headers() == {}
