"""What the encoder refuses before it loads its half of the model."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl

from eden import CheckpointError
from handlers.encoder import EncoderHandler
from server.settings import PROJECT


@pytest.mark.parametrize(("kind", "refused"), [("http", True), ("zeromq", True), ("auto", False), ("inline", False)])
def test_tickets_that_lead_nowhere_from_the_hosts_that_call_it(
    kind: str, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told by the configuration of the TorchServe that is this worker's parent: `sleep` stands in for it."""
    (tmp_path / "config.properties").write_text("inference_address=http://0.0.0.0:8080\n")
    monkeypatch.setenv("EDEN_SERVER_FOLDER", str(tmp_path))
    metrics = MetricsCacheYamlImpl(str(PROJECT / "server" / "metrics.yaml"))
    metrics.initialize_cache()
    metrics.model_name = "eden__encoder"
    context = SimpleNamespace(
        system_properties={"gpu_id": None, "model_dir": str(tmp_path), "batch_size": 1},
        model_yaml_config={"handler": {"handoff": {"kind": kind, "shared_folder": str(tmp_path)}}},
        metrics=metrics,
        model_name="eden__encoder",
    )
    node = EncoderHandler()
    with subprocess.Popen(["sleep", "300"], cwd=tmp_path) as parent:
        monkeypatch.setattr(os, "getppid", lambda: parent.pid)
        try:
            with pytest.raises(ValueError) as met:
                node.initialize(context)
        finally:
            parent.kill()
    assert node.handoff
    node.handoff.close()
    if refused:
        assert "(inference_address: 0.0.0.0): set handoff.bind" in str(met.value)
    else:
        assert isinstance(met.value, CheckpointError)  # it went on, to what is not there
