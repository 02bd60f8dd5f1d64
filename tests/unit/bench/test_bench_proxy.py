"""What the bench of several servers says of its calls, and what of the shipped configuration it changes."""

from __future__ import annotations

import hashlib

from bench.proxy import report
from bench.proxy.haproxy import CONFIGURATION, configured
from server.settings import Ports

FOUND = {
    "machine": {"cpu": "a cpu", "cores": 2, "gpus": [], "python": "3.11", "torch": "2", "date": "2026-01-31"},
    "settings": {"frame_size": "64x96"},
    "seconds": 30.0,
    "happened": [[10.0, "b killed"], [20.0, "b starts"]],
    "up": [[0.0, ["a", "b"]], [12.0, ["a"]], [25.0, ["a", "b"]]],
    "unfinished": [],
    "tried_again_by_eden_client": ["http://127.0.0.1:8090 answered 502", "http://127.0.0.1:9 answered 502"],
    "proxy": {"a": {"wretr": "0", "wredis": "0"}, "b": {"wretr": "2", "wredis": "3"}},
    "calls": [
        [1.0, "/predictions/eden_fused K=2", 0.5, None],
        [11.0, "/predictions/eden_fused K=2", 1.5, None],
        [12.0, "/predictions/eden__dit_decoder", 0.25, "502 PeerLost"],
        [25.0, "/predictions/eden__dit_decoder", 0.75, None],
    ],
}


def test_each_call_counts_under_what_had_happened_last():
    assert report.phases(FOUND) == [("three serve", 0.0, 10.0), ("b killed", 10.0, 20.0), ("b starts", 20.0, 30.0)]
    lines = report.markdown(FOUND).splitlines()
    assert "| three serve | 0.0 | 10.0 | 1 | 0 | 0.50 | 0.50 |" in lines
    assert "| b killed | 10.0 | 20.0 | 1 | 1 | 1.50 | 1.50 |" in lines
    assert "| b starts | 20.0 | 30.0 | 1 | 0 | 0.75 | 0.75 |" in lines


def test_what_failed_and_what_was_tried_again_is_told():
    text = report.markdown(FOUND)
    assert "**4 calls, 1 failed**; HAProxy sent 3 to another server, and eden_client tried 2 of its own again." in text
    assert "| /predictions/eden__dit_decoder | 502 PeerLost | 1 | 12.0 |" in text
    assert "- 2 x the proxy answered 502" in text
    assert "| /predictions/eden_fused K=2 | 2 | 0 | 1.00 | 1.45 | 1.50 |" in text


def test_it_draws_a_picture_of_them(tmp_path):
    report.write(tmp_path / "out", FOUND)
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "out.md").read_text() == report.markdown(FOUND)


def test_of_the_configuration_that_ships_it_changes_addresses_files_and_servers_alone(tmp_path):
    servers = {"a": Ports(1, 2, 3, 4, 5, 6), "b": Ports(11, 12, 13, 14, 15, 16)}
    mine = configured(servers, 21, 22, tmp_path, "a key").read_text().splitlines()
    shipped = CONFIGURATION.read_text().splitlines()
    changed = [line.strip() for line in mine if line not in shipped]
    assert changed == [
        f"stats socket {tmp_path}/haproxy.sock mode 600 level admin",
        "bind 127.0.0.1:21",
        f"http-request set-var(txn.caller) http_auth_bearer,sha2(256),hex,lower,map_str({tmp_path}/callers.map)",
        "server a 127.0.0.1:1 port 6",
        "server b 127.0.0.1:11 port 16",
        "bind 127.0.0.1:22",
    ]
    assert not any("/dev/log" in line for line in mine)
    assert (tmp_path / "callers.map").read_text() == f"{hashlib.sha256(b'a key').hexdigest()} bench\n"
