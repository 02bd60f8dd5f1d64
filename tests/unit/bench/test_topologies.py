"""Topologies side by side: what counts as an answer, what is made of the times; and small runs of the whole."""

from __future__ import annotations

import io
import json
import operator
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

import media
from bench.capacity.samples import Readings
from bench.topologies import frames, report
from bench.topologies.__main__ import main
from bench.topologies.load import Answered, Caller, Generators, Target, summary
from bench.topologies.model import Model, Processes, measure_split
from bench.topologies.plan import BOTH, FUSED, GPU_PLAN, QUICK_PLAN, SPLIT, Work
from bench.topologies.served import parts
from bench.topologies.weights import TINY
from eden.random_weights import write_random
from tests.serving_thread import serving

PAIR = Work((32, 48), 2, "jpeg", batch=2, users=4)
BUSY = {"code": 503, "type": "OverCapacity", "message": "too much waits", "retry": "later"}


def picture(height=32, width=48, format="jpeg"):
    return media.encode_image(np.zeros((height, width, 3), np.uint8), format)


class Answers(BaseHTTPRequestHandler):
    """Answers with what the server's `answer` is: (status, body), or None: it breaks off."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((self.path, dict(self.headers), body, self.client_address))
        if self.server.answer is None:
            self.close_connection = True
            return
        status, answer = self.server.answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@pytest.fixture
def peer():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.seen, server.answer = [], (200, picture())
    with serving(server):
        yield server


@pytest.fixture
def target(peer, tmp_path):
    frames.draw(PAIR, tmp_path)
    url = f"http://127.0.0.1:{peer.server_port}"
    bodies = tuple(frames.bodies(PAIR, tmp_path))
    return Target(url, "/wfpredict/eden", {"Authorization": "Bearer x"}, bodies, "jpeg", 1, PAIR.size)


@pytest.fixture
def caller(target):
    caller = Caller(target, [body.path.read_bytes() for body in target.bodies])
    yield caller
    caller.close()


def test_calls_keep_their_connection_and_send_different_clips(peer, caller):
    assert [caller.call(number).failure for number in range(3)] == [""] * 3
    paths, headers, bodies, addresses = zip(*peer.seen, strict=True)
    assert set(paths) == {"/wfpredict/eden"} and len(set(addresses)) == 1 and len(set(bodies)) == 3
    assert headers[0]["Authorization"] == "Bearer x" and headers[0]["X-Eden-Format"] == "jpeg"
    assert headers[0]["Content-Type"].startswith("multipart/form-data; boundary=")


@pytest.mark.parametrize(
    "answer, failure",
    [
        ((200, json.dumps(BUSY).encode()), "ServerBusy"),
        ((503, json.dumps(BUSY).encode()), "ServerBusy"),
        ((200, picture(32, 32)), "wrong answer: frames of 32x32"),
        ((200, picture(format="png")), "wrong answer: not a readable jpeg"),
        ((200, b""), "wrong answer"),
        ((500, picture()), "status 500"),
        (None, "RemoteDisconnected"),
    ],
)
def test_what_is_no_good_answer_has_failed(peer, caller, answer, failure):
    peer.answer = answer
    assert caller.call(0).failure.startswith(failure)
    peer.answer = (200, picture())
    assert not caller.call(1).failure  # on a new connection, if need be


def test_the_frames_of_an_answer_are_counted(peer, target):
    def npy(count):
        with io.BytesIO() as file:
            np.save(file, np.zeros((count, *PAIR.size, 3), np.uint8))
            return file.getvalue()

    clips = Target(target.url, target.path, {}, target.bodies, "npy", 3, PAIR.size)
    caller = Caller(clips, [b"x"])
    for count, failed in ((3, False), (2, True)):
        peer.answer = (200, npy(count))
        assert bool(caller.call(0).failure) == failed
    peer.answer = (200, npy(3)[:-1])
    assert "cut off" in caller.call(0).failure
    caller.close()


def test_only_what_ends_in_the_window_counts():
    seen = [Answered(9.9, 1.0), *(Answered(10 + i / 10, 0.1 * (i + 1)) for i in range(10)), Answered(12.0, 9.0)]
    seen += [Answered(11.5, 5.0, "ServerBusy: x"), Answered(11.6, 5.0, "ServerBusy: x"), Answered(12.5, 5.0, "late")]
    found = summary(seen, 10.0, 12.0, pairs=23)
    assert (found["answers"], found["failed"], found["failures"]) == (10, 2, {"ServerBusy: x": 2})
    assert found["pairs_s"] == pytest.approx(10 * 23 / 2)
    assert (found["p50_ms"], found["p95_ms"]) == (pytest.approx(550), pytest.approx(955))


def test_a_window_without_an_answer_has_no_percentiles():
    assert summary([], 0.0, 1.0, pairs=1)["p99_ms"] is None


def test_processes_make_load_one_after_the_other(peer, target):
    with Generators(2) as generators:
        for _ in range(2):
            row = generators.measure(target, users=4, warm=0.0, window=0.3, most_warm=30.0)
            assert row["users"] == 4 and row["failed"] == 0
            assert row["pairs_s"] * row["seconds"] == pytest.approx(row["answers"])
            assert 0 <= row["generator_cores_busiest"] <= row["generator_cores"]
    assert len({address for *_, address in peer.seen}) == 8  # each of four callers kept its connection, twice


def test_a_lone_call_is_the_sum_of_its_parts():
    def page(times):
        return Readings(
            f'eden_stage_seconds_sum{{Stage="encode",ModelName="a",}} {0.002 * times}\n'
            f'eden_stage_seconds_sum{{Stage="denoise_decode",ModelName="b",}} {1 + 0.01 * times}\n'
            f'ts_queue_latency_microseconds{{model_name="a",}} {3000.0 * times}\n'
            f'ts_queue_latency_microseconds{{model_name="b",}} {2000.0 * times}\n'
        )

    found = parts(page(5), page(105), mean=0.02, calls=100)
    assert found == {
        "mean": 20, "encode": pytest.approx(2), "denoise_decode": pytest.approx(10), "queue": pytest.approx(5),
        "TorchServe and transport": pytest.approx(3),
    }  # fmt: skip


def test_each_topology_is_served_before_any_is_served_again():
    servings = GPU_PLAN.servings([SPLIT, BOTH, FUSED], ["cpu", "gpu"])
    assert [(each.topology, each.jpeg) for each in servings[:5]] == [
        (SPLIT, "cpu"), (BOTH, "cpu"), (FUSED, "cpu"), (FUSED, "gpu"), (SPLIT, "gpu"),
    ]  # fmt: skip
    assert not any(each.first for each in servings[5:])
    assert all(each.archive_options()[-2:] == ["--set", f"jpeg={each.jpeg}"] for each in servings)
    again = [GPU_PLAN.works_of(each, ["cpu", "gpu"]) for each in servings[3:]]
    assert all(work.format == "jpeg" for works in again for work in works)
    assert all(len(GPU_PLAN.works_of(each, ["cpu", "gpu"])) == len(GPU_PLAN.works) for each in servings[:3])
    for plan in (GPU_PLAN, QUICK_PLAN):
        assert plan.lone in plan.works
        assert all("jpeg" not in " ".join(each.archive_options()) for each in plan.servings([SPLIT, FUSED], []))
        assert all(each.jpeg is None for each in plan.servings([SPLIT, FUSED], []))


def test_raw_frames_are_served_in_each_way_that_is_named():
    (serving, *_) = QUICK_PLAN.servings([FUSED], [])
    works = QUICK_PLAN.works_of(serving, [], ["npy", "region"])
    assert [(work.format, work.by_region) for work in works] == [("jpeg", False), ("npy", False), ("npy", True)]
    assert works[1].file == works[2].file and works[1].name != works[2].name
    assert QUICK_PLAN.works_of(serving, []) == list(QUICK_PLAN.works)


def test_a_server_without_work_is_not_started():
    raw = GPU_PLAN.only(["npy"])
    assert raw.works and all(work.format == "npy" for work in raw.works)
    assert [each.setting for each in raw.servings([FUSED], ["cpu", "gpu"])] == [GPU_PLAN.settings[FUSED][0]]
    assert GPU_PLAN.only(["jpeg", "npy"]) == GPU_PLAN


def test_a_caller_by_region_copies_frames_in_and_out(peer, target, tmp_path):
    work = Work((32, 48), 3, "npy", batch=2, users=4)
    frames.draw(work, tmp_path)
    bodies = tuple(frames.bodies(work, tmp_path))
    shared = Target(target.url, target.path, {}, bodies, "npy", work.pairs, work.size, by_region=True)
    caller = Caller(shared, [body.path.read_bytes() for body in bodies])
    size = 32 * 48 * 3
    told = {"layout": "rgb24", "dtype": "uint8", "shape": [2, 32, 48, 3], "offset": 4096 + -(-3 * size // 4096) * 4096}
    peer.answer = (200, json.dumps(told).encode())
    assert not caller.call(0).failure
    peer.answer = (200, json.dumps(BUSY).encode())
    assert caller.call(1).failure.startswith("ServerBusy")
    peer.answer = (200, json.dumps(told | {"shape": [1, 32, 48, 3]}).encode())
    assert caller.call(2).failure.startswith("ServerFailed")
    caller.close()
    assert all(len(body) < 1000 for _, _, body, _ in peer.seen)


def test_shares_are_of_the_same_topology_and_work():
    rows = [
        {"part": "model", "topology": FUSED, "work": "a", "pairs_s": 200.0, "with_pictures_pairs_s": 100.0},
        {"part": "model", "topology": SPLIT, "work": "a", "pairs_s": 50.0},
        *({"part": "served", "topology": topology, "work": work, "pairs_s": 40.0}
          for topology in (FUSED, SPLIT) for work in "ab"),
    ]  # fmt: skip
    report.shares(rows)
    assert [row.get("share") for row in rows[2:]] == [0.2, None, 0.8, None]
    assert [row.get("share_with_pictures") for row in rows[2:]] == [0.4, None, None, None]


def test_the_split_pipeline_in_process(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # cores are few, and shared
    write_random(tmp_path / "checkpoint", TINY)
    works = (PAIR, Work((32, 48), 3, "npy", batch=1, users=1))
    for work in works:
        frames.draw(work, tmp_path)
    model = Model(tmp_path / "checkpoint", "fp32", ("cpu", "cpu"), "shared_memory", 0.1, 1, tmp_path, works)
    rows = list(measure_split(model, [SPLIT, BOTH]))
    assert [(row["topology"], row["work"]) for row in rows] == [(t, w.name) for t in (SPLIT, BOTH) for w in works]
    assert all(row["pairs_s"] > 0 and row["routes"] == ["shared_memory"] for row in rows)


def test_a_process_that_dies_is_told_of():
    with Processes() as processes, pytest.raises(RuntimeError, match="died"):
        processes.start(operator.methodcaller("no such method"))
        processes.answers()


@pytest.mark.skipif(
    not os.environ.get("EDEN_BENCH"), reason="measures for seconds by a server of its own: EDEN_BENCH=1"
)
def test_a_small_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")
    out = tmp_path / "results" / "small"
    assert main(f"--device cpu --quick --topologies fused --transport npy,region --out {out}".split()) == 0
    found = json.loads(out.with_suffix(".json").read_text())
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert [row["part"] for row in printed] == ["model", "model", "served", "lone", "served", "served"]
    assert not found["left_out"]
    model, raw, served, lone, by_body, by_region = found["rows"]
    assert by_region["work"].endswith("shared memory") and by_region["failed"] == by_body["failed"] == 0
    for row in (by_body, by_region):
        assert row["share"] == pytest.approx(row["pairs_s"] / raw["pairs_s"])
    assert model["pairs_s"] > 0 and model["with_pictures_pairs_s"] > 0
    assert served["failed"] == 0 and served["pairs_s"] > 0
    assert served["share"] == pytest.approx(served["pairs_s"] / model["pairs_s"])
    assert lone["failed"] == 0 and lone["parts_ms"]["denoise_decode"] > 0
    assert sum(ms for name, ms in lone["parts_ms"].items() if name != "mean") == pytest.approx(lone["parts_ms"]["mean"])
    assert "## A lone pair" in out.with_suffix(".md").read_text()
