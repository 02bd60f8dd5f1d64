"""Settings and workloads as they are written on the command line."""

from __future__ import annotations

import pytest

from bench.capacity.plan import Setting, Workload
from bench.capacity.samples import Readings


def test_a_setting_becomes_options_of_archive_sh():
    setting = Setting.parse("batch=4,delay=0,decoders=2,handoff=auto,threads=1,encoder:handoff.max_in_flight=16")
    assert (setting.batch, setting.delay, setting.encoders, setting.decoders) == (4, 0, 1, 2)
    assert setting.archive_options() == [
        *("--batch-size", "4", "--max-batch-delay", "0", "--handoff", "auto"),
        *("--encoder-workers", "1", "--decoder-workers", "2"),
        *("--set", "threads=1", "--set", "encoder:handoff.max_in_flight=16"),
    ]
    assert str(setting) == "batch 4, 0 ms, 1+2 workers, auto, threads=1, encoder:handoff.max_in_flight=16"


def test_decoders_on_both_gpus():
    setting = Setting.parse("decoders=2,decoder_gpus=1/0")
    assert setting.archive_options()[-2:] == ["--decoder-gpus", "1,0"]
    assert str(setting) == "batch 8, 3 ms, 1+2 workers, shared_memory, decoders on GPUs 1/0"


def test_both_halves_in_one_process():
    setting = Setting.parse("topology=fused,fused_workers=2,batch=16,delay=5,threads=1")
    assert setting.archive_options() == [
        *("--batch-size", "16", "--max-batch-delay", "5", "--topology", "fused", "--fused-workers", "2"),
        *("--set", "threads=1"),
    ]
    assert str(setting) == "fused, batch 16, 5 ms, 2 workers, threads=1"
    assert setting.route == "fused" and setting.nodes == {"fused": "eden_fused"}
    assert Setting().route == "workflow" and set(Setting().nodes) == {"encoder", "decoder"}


def test_no_setting_is_the_default():
    assert Setting.parse("") == Setting()


@pytest.mark.parametrize(
    "text",
    [
        "batches=3",
        "batch",
        "batch=many",
        "topology=both",
        "topology=fused,decoders=2",
        "topology=fused,handoff=auto",
        "fused_workers=2",
    ],
)
def test_senseless_settings_are_refused(text):
    with pytest.raises(ValueError):
        Setting.parse(text)


def test_workloads():
    pairs = Workload.parse("480x854,K=2,png,users=1/4/16")
    assert (pairs.height, pairs.width, pairs.clip, pairs.format, pairs.users) == (480, 854, 2, "png", (1, 4, 16))
    assert pairs.strategy == "streaming"
    assert pairs.locust_options()[-4:] == ["--tags", "streaming", "--rate", "0"]
    clips = Workload.parse("480x854,K=24,jpeg,users=2")
    assert clips.strategy == "batch"
    assert clips.locust_options()[-4:] == ["--tags", "batch", "--clip", "24"]
    with pytest.raises(ValueError, match="expected"):
        Workload.parse("480x854,png")


def test_readings_add_up_the_series_that_are_asked_for():
    page = """# HELP eden_pairs_total
# TYPE eden_pairs_total counter
eden_pairs_total{ModelName="eden__dit_decoder",Level="Model",Hostname="a",} 12.0
eden_stage_seconds_bucket{ModelName="x",Stage="put",le="0.005",} 100.0
eden_stage_seconds_sum{ModelName="x",Stage="put",Hostname="a",} 1.5E-1
eden_stage_seconds_sum{ModelName="x",Stage="encode",Hostname="a",} 2.0
eden_stage_seconds_sum{ModelName="y",Stage="take",Hostname="a",} 4.0
"""
    readings = Readings(page)
    assert readings.sum("eden_pairs_total") == 12
    assert readings.sum("eden_stage_seconds_sum", ModelName="x") == 2.15
    assert readings.sum("eden_stage_seconds_sum", Stage="take") == 4
    assert readings.sum("eden_stage_seconds_bucket") == 0
    assert readings.sum("nothing") == 0
