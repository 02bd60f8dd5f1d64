"""The trainer on a GPU: compiled, in float16, its steps recorded as CUDA graphs."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from training.measuring import measure
from training.run import Run
from training.settings import Settings
from training.state import tensors_of
from training.stepping import EAGER_STEPS

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    # PyTorch's compiler hides its own, unless they are errors
    pytest.mark.filterwarnings("default::UserWarning"),
]


def settings_in(folder: Path) -> Settings:
    return Settings(folder, device="cuda", plan_steps=24, size=(64, 96), batch=4, scenes=8, judged=2)


def test_a_few_steps_are_taken_and_go_on_from_their_state(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    first = Run(settings)
    figures = first.train(until=0.9)
    assert all(size.graph is not None for size in first.stepper.sizes if size.taken > EAGER_STEPS)
    assert figures["4-16 px"]["eden"] > figures["4-16 px"]["average"] - 1.5
    later = Run(settings)
    later.resume()
    later.train()
    assert later.progress.step == settings.plan_steps


def test_a_step_is_timed_as_written_and_recorded(tmp_path: Path) -> None:
    figures = measure(settings_in(tmp_path), 2)
    for kind in ("whole frames", "crops"):
        assert figures["captured"][kind]["replay"] > 0 and figures["eager"][kind]["optimiser"] > 0
    assert figures["kernels"][-1]["name"] == "all others" and figures["kernels"][0]["ms"] > 0


@pytest.mark.parametrize("arithmetic", [torch.float16, torch.float32])
def test_recorded_steps_do_what_they_do_as_written(tmp_path: Path, arithmetic: torch.dtype) -> None:
    """Equal but for rounding: the weights' distance is small beside how far they have come."""
    runs = []
    for name, recording in (("recorded", True), ("written", False)):
        run = Run(replace(settings_in(tmp_path / name), recording=recording, warm_up=1, arithmetic=arithmetic))
        start = {key: tensor.clone() for key, tensor in tensors_of(run.network).items()}
        run.train(until=0.9)
        runs.append(run)
    recorded, written = (tensors_of(run.network) for run in runs)
    assert any(size.graph is not None for size in runs[0].stepper.sizes)
    assert not any(size.graph is not None for size in runs[1].stepper.sizes)
    apart = sum((recorded[key] - written[key]).square().sum() for key in start)
    way = sum((written[key] - start[key]).square().sum() for key in start)
    assert apart < 0.02 * way
