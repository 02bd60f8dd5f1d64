import pytest
import torch

from eden.config import EdenConfig
from training.initial import initialise
from training.network import Eden
from training.settings import Settings


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """So small a network only waits for more, and longer the busier the machine is."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def config():
    """Patches of 48 values in 96 channels: the trained network's shape, at a twentieth of its size."""
    return EdenConfig(
        patch_size=4,
        latent_dim=8,
        hidden_dim=96,
        num_heads=4,
        mlp_ratio=2.0,
        dit_depth=2,
        decoder_depth=2,
        vae_scaler=1.0,
        vae_shift=0.0,
    )


@pytest.fixture
def network(config):
    made = Eden(config)
    initialise(made, seed=3)
    return made


@pytest.fixture(scope="session")
def short_run(config):
    """The settings, in a folder, of a run of a few steps on frames of 32x48 and crops of 16x24."""

    def settings(folder):
        return Settings(
            folder=folder / "run",
            config=config,
            plan_steps=4,
            size=(32, 48),
            batch=2,
            warm_up=3,
            scenes=6,
            uses=1,
            judged=2,
            judgements=2,
            virtual_sizes=((48, 64),),
        )

    return settings


@pytest.fixture
def settings(short_run, tmp_path):
    return short_run(tmp_path)


@pytest.fixture
def pair():
    """Two smooth frames [2,3,32,48] and noise for them at patch 4: [2,q,8]."""
    generator = torch.Generator().manual_seed(5)
    coarse = torch.rand(4, 3, 8, 12, generator=generator)
    frames = torch.nn.functional.interpolate(coarse, size=(32, 48), mode="bilinear")
    return frames[:2], frames[2:], torch.randn(2, 24, 8, generator=generator)
