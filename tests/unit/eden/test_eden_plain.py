"""The plain rendering of the specification, against which the benchmark measures, is right too."""

import pytest
import torch
from safetensors.torch import load_file

from bench.model import plain_eden
from eden import EdenConfig

WITHIN = {"rtol": 0, "atol": 1e-5}


@pytest.fixture
def seen(case):
    w = load_file(case.checkpoint / "weights.safetensors")
    config = EdenConfig.from_file(case.checkpoint / "config.json")
    return w, config, plain_eden.encode(w, config, case["frame0"], case["frame1"])


def test_encoding(case, seen):
    for name in ("cond_dit", "cond_dec", "difference"):
        torch.testing.assert_close(getattr(seen[2], name), case[name], **WITHIN)
    torch.testing.assert_close(seen[2].mean, case["stats_mean"], **WITHIN)
    torch.testing.assert_close(seen[2].std, case["stats_std"], **WITHIN)


def test_denoising_and_decoding(case, seen):
    w, config, encoded = seen
    torch.testing.assert_close(
        plain_eden.velocity(w, config, case["noise"], 0.3, encoded), case["velocity_t0_3"], **WITHIN
    )
    torch.testing.assert_close(plain_eden.sample(w, config, case["noise"], encoded), case["latents"], **WITHIN)
    torch.testing.assert_close(plain_eden.interpolate(w, config, encoded, case["noise"]), case["frame"], **WITHIN)
