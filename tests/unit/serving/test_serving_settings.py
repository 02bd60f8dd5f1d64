"""The `handler:` section of a model's yaml."""

import pytest
import yaml

from handoff import NETWORK, HandoffSettings
from server.settings import PROJECT
from serving.settings import LARGEST_PAYLOAD, MAX_WAIT_S, Settings, SettingsError, check_dialled, sensible_threads


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("EDEN_SERVER_FOLDER", str(tmp_path))


def test_what_is_not_said_has_a_default(tmp_path):
    settings = Settings.read({}, tmp_path)
    assert settings.checkpoint == tmp_path / "checkpoint"
    assert (settings.precision, settings.threads, settings.warm) == ("fp32", None, ())
    assert settings.handoff.folder == tmp_path


def test_what_is_said_is_heard(tmp_path):
    said = {
        "maxWorkers": 3,
        "handler": {
            "checkpoint": "/elsewhere",
            "precision": "bf16",
            "threads": 4,
            "warm": [[256, 448]],
            "limits": {"max_frames": 5},
            "handoff": {"kind": "inline", "shared_folder": "/dev/shm"},
        },
    }
    settings = Settings.read(said, tmp_path)
    assert str(settings.checkpoint) == "/elsewhere"
    assert (settings.precision, settings.threads, settings.workers) == ("bf16", 4, 3)
    assert settings.warm == ((256, 448),)
    assert settings.limits.max_frames == 5
    assert settings.handoff.kind == "inline"


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"checkpont": "x"}, "unknown checkpont"),
        ({"limits": {"max_frame": 1}}, "limits: unknown max_frame"),
        ({"handoff": {"kin": "inline"}}, "handoff: unknown kin"),
        ({"warm": [["tall", 3]]}, r"warm\[0\]\[0\]: expected int, got str"),
        ({"grpc_streaming": "no"}, "grpc_streaming: expected bool, got str"),
        ({"workers": 2}, "unknown workers: the yaml's maxWorkers"),
        ({"handoff": "inline"}, "handoff is 'inline', not settings by name"),
        ({"handoff": {"budget_bytes": 10, "max_payload_bytes": 11}}, r"max_payload_bytes is 11, more than all .* 10 "),
        ({"regions": "here"}, "regions is 'here': true, false or an absolute path"),
    ],
)
def test_what_is_misspelt_is_named(tmp_path, section, message):
    with pytest.raises(ValueError, match=message):
        Settings.read({"handler": section}, tmp_path)


def test_a_hand_off_follows_what_else_is_set_unless_it_says_otherwise(tmp_path):
    def handoff(**section):
        return Settings.read({"handler": section}, tmp_path).handoff

    assert handoff().abandoned_after_s == MAX_WAIT_S
    assert handoff(max_wait_s=7.0).abandoned_after_s == 7
    assert handoff(max_wait_s=7.0, handoff={"abandoned_after_s": 3.0}).abandoned_after_s == 3
    assert handoff(handoff={"budget_bytes": 2 * LARGEST_PAYLOAD}).max_payload_bytes == LARGEST_PAYLOAD
    assert handoff(handoff={"budget_bytes": 1 << 20}).max_payload_bytes == 1 << 20
    assert handoff(handoff={"budget_bytes": 1 << 20, "max_payload_bytes": 1 << 10}).max_payload_bytes == 1 << 10


def test_regions_lie_where_it_is_said_beside_the_hand_offs_memory_or_nowhere(tmp_path):
    def folder(**section):
        regions = Settings.read({"handler": section}, tmp_path).region_folder
        return regions and regions.path

    assert folder(handoff={"shared_folder": str(tmp_path / "shared")}) == tmp_path / "shared"
    assert folder(regions=str(tmp_path / "others")) == tmp_path / "others"
    assert folder(regions=False) is None


def test_a_dead_decoders_batch_is_kept_until_all_that_waited_is_done(tmp_path):
    settings = Settings.read(yaml.safe_load((PROJECT / "handlers" / "encoder.yaml").read_text()), tmp_path)
    batch = yaml.safe_load((PROJECT / "workflow" / "eden.yaml").read_text())["models"]["batch-size"]
    assert settings.handoff.keep_taken >= settings.handoff.max_in_flight + batch


def test_both_nodes_share_a_cpu_and_a_gpu_needs_few(grant_cores):
    grant_cores(16)
    assert sensible_threads("cpu", 1) == 8
    assert sensible_threads("cpu", 16) == 1
    assert sensible_threads("cuda:1", 1) == 2


ELSEWHERE = {"inference_address": "127.0.0.1", "grpc_inference_address": "0.0.0.0"}


@pytest.mark.parametrize("kind", NETWORK)
def test_loopback_in_tickets_for_callers_on_other_hosts_is_refused_and_the_settings_named(kind):
    with pytest.raises(
        SettingsError, match=r"handoff\.bind 127\.0\.0\.1, .*\(grpc_inference_address: 0\.0\.0\.0\): set"
    ) as told:
        check_dialled(HandoffSettings(kind=kind), ELSEWHERE)
    assert "handoff.bind to this host's address, or handoff.advertise" in str(told.value)


@pytest.mark.parametrize(
    ("changes", "called_at"),
    [
        ({}, {}),
        ({}, {"inference_address": "127.0.0.1"}),
        ({}, {"inference_address": "::1", "grpc_inference_address": "localhost"}),
        ({"bind": "192.0.2.1"}, ELSEWHERE),
        ({"bind": "0.0.0.0", "advertise": "192.0.2.1"}, ELSEWHERE),
        ({"advertise": "127.0.0.1"}, ELSEWHERE),
        ({"kind": "auto"}, ELSEWHERE),
        ({"kind": "shared_memory"}, ELSEWHERE),
    ],
)
def test_where_tickets_lead_somewhere_or_stay_here_nothing_is_refused(changes, called_at):
    check_dialled(HandoffSettings(**{"kind": "http"} | changes), called_at)
