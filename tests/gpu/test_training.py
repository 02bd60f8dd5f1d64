"""The trainer on a GPU: compiled, in bfloat16."""

from pathlib import Path

import pytest
import torch

from training.run import Run
from training.settings import Settings

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.filterwarnings("default::UserWarning")  # PyTorch's compiler hides its own, unless they are errors
def test_a_few_steps_are_taken_and_go_on_from_their_state(tmp_path: Path) -> None:
    settings = Settings(tmp_path, device="cuda", plan_samples=96, size=(64, 96), batch=4, scenes=8, judged=2)
    first = Run(settings)
    figures = first.train()
    assert first.progress.samples >= 96
    assert figures["4-16 px"]["eden"] > figures["4-16 px"]["average"] - 1.5
    later = Run(settings)
    later.resume()
    noise = later.network.noise(4, settings.size, later.batches.generators(0)[1])
    assert later.step(later.batches.at(0, 1.0), noise).isfinite().all()
