"""Checkpoints in every form that they come in, and every way in which one can be wrong."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from eden import CheckpointError, ConfigError, DitDecoder, EdenConfig, Encoder
from eden.checkpoint import expected_shapes, main, split_checkpoint
from eden.random_weights import random_tensors

pytestmark = pytest.mark.slow

DATA = Path(__file__).parents[2] / "data"
TINY = DATA / "parity" / "tiny"
HALVES = {"encoder": Encoder, "decoder": DitDecoder}
half = pytest.mark.parametrize("half", HALVES)


@pytest.fixture
def copy(tmp_path):
    """copy(change): the tiny checkpoint in a folder of its own, its dict of tensors changed in place by `change`."""

    def make(change=lambda tensors: None):
        tensors = load_file(TINY / "weights.safetensors")
        change(tensors)
        save_file(tensors, tmp_path / "weights.safetensors")
        shutil.copy(TINY / "config.json", tmp_path)
        return tmp_path

    return make


def test_names_and_shapes_are_the_published_ones():
    published = json.loads((DATA / "published_shapes.json").read_text())
    ours = {**expected_shapes(EdenConfig(), "encoder"), **expected_shapes(EdenConfig(), "decoder")}
    assert {name: list(shape) for name, shape in ours.items()} == published
    assert len(published) == 254


def test_the_published_file_at_full_size(tmp_path, clip):
    path = tmp_path / "eden.pt"
    tensors = random_tensors(EdenConfig())
    assert {name: list(tensor.shape) for name, tensor in tensors.items()} == json.loads(
        (DATA / "published_shapes.json").read_text()
    )
    torch.save({"eden": tensors}, path)
    del tensors
    output = Encoder.load(path).encode(clip(2, 256, 448))
    frames = DitDecoder.load(path).interpolate([output], seeds=[1])[0]
    path.unlink()
    assert frames.shape == (1, 3, 256, 448)
    assert torch.isfinite(frames).all()
    assert frames.std() > 0.01


@pytest.mark.parametrize("form", ["folder", "file", "pickle", "old pickle", "half precision"])
def test_every_form_loads_the_same(form, tmp_path, copy, tiny, clip):
    path = copy()
    if form == "file":
        path = (path / "weights.safetensors").rename(path / "step_9.safetensors")
    elif "pickle" in form:
        path = tmp_path / "eden.pt"
        state = load_file(TINY / "weights.safetensors")
        torch.save({"eden": state}, path, _use_new_zipfile_serialization=form == "pickle")
    elif form == "half precision":
        path = copy(lambda tensors: tensors.update({name: tensor.half() for name, tensor in tensors.items()}))
    frames = clip(2, 32, 32)
    ours = DitDecoder.load(path).interpolate([Encoder.load(path).encode(frames)])[0]
    within = 2e-3 if form == "half precision" else 0
    torch.testing.assert_close(ours, tiny[1].interpolate([tiny[0].encode(frames)])[0], rtol=0, atol=within)


@half
def test_half_a_checkpoint_is_enough_for_its_half(half, tmp_path, clip):
    split_checkpoint(TINY, tmp_path, half)
    with safe_open(tmp_path / "weights.safetensors", "pt") as file:
        assert {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()} == expected_shapes(  # noqa: SIM118
            EdenConfig.from_file(TINY / "config.json"), half
        )
    HALVES[half].load(tmp_path)
    other = next(load for name, load in HALVES.items() if name != half)
    with pytest.raises(CheckpointError, match="missing"):
        other.load(tmp_path)


@half
def test_only_its_own_tensors_are_read(half, copy, monkeypatch):
    class Recording:
        def __init__(self, *arguments):
            self.file = safe_open(*arguments)

        def __enter__(self):
            self.opened = self.file.__enter__()
            return self

        def __exit__(self, *error):
            return self.file.__exit__(*error)

        def __getattr__(self, name):
            return getattr(self.opened, name)

        def get_tensor(self, name):
            read.append(name)
            return self.opened.get_tensor(name)

    read: list[str] = []
    monkeypatch.setattr("eden.checkpoint.safe_open", Recording)
    HALVES[half].load(copy())
    assert set(read) == set(expected_shapes(EdenConfig.from_file(TINY / "config.json"), half))


def test_one_error_names_everything_that_is_wrong(copy):
    def spoil(tensors):
        del tensors["proj_in.bias"]
        del tensors["dit_blocks.1.mlp.fc1.weight"]
        tensors["proj_token.weight"] = torch.zeros(96, 5)
        tensors["proj_token.bias"] = torch.zeros(3)
        tensors["something.else"] = torch.zeros(2, 2)

    with pytest.raises(CheckpointError) as raised:
        DitDecoder.load(copy(spoil))
    assert str(raised.value).splitlines()[1:] == [
        "  missing dit_blocks.1.mlp.fc1.weight, wanted [384, 96]",
        "  missing proj_in.bias, wanted [96]",
        "  mis-shaped proj_token.bias [3], wanted [96]",
        "  mis-shaped proj_token.weight [96, 5], wanted [96, 16]",
        "  surplus something.else [2, 2], wanted none",
    ]


def test_the_other_half_is_not_this_ones_business(copy):
    path = copy(lambda tensors: tensors.update({"proj_token.bias": torch.zeros(3)}))
    Encoder.load(path)
    with pytest.raises(CheckpointError, match=r"mis-shaped proj_token\.bias"):
        DitDecoder.load(path)


def test_tensors_of_whole_numbers_are_refused(copy):
    path = copy(lambda tensors: tensors.update({"proj_in.bias": torch.zeros(96, dtype=torch.int32)}))
    with pytest.raises(CheckpointError, match=r"not floating point: proj_in\.bias"):
        DitDecoder.load(path)


class Harmful:
    def __reduce__(self):
        return (Path.touch, (Path("harm"),))


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"\x80\x02}q\x00."])
@pytest.mark.parametrize("name", ["weights.safetensors", "eden.pt"])
def test_files_that_are_no_checkpoints(copy, name, content):
    path = copy() / name
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=name):
        Encoder.load(path)


def test_a_pickle_that_would_run_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"eden": Harmful()}, "eden.pt")
    with pytest.raises(CheckpointError, match="not a readable PyTorch checkpoint"):
        DitDecoder.load("eden.pt")
    assert not Path("harm").exists()


@pytest.mark.parametrize("content", [{"model": {}}, {"eden": 3}, {"eden": {"proj_in.bias": 3}}, [1]])
def test_a_pickle_of_something_else(tmp_path, content):
    torch.save(content, tmp_path / "eden.pt")
    with pytest.raises(CheckpointError, match="not an EDEN checkpoint"):
        DitDecoder.load(tmp_path / "eden.pt")


def test_a_truncated_file(copy):
    path = copy() / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        Encoder.load(path)


@pytest.mark.parametrize("path", ["nowhere", "nowhere.safetensors", "eden.pt", "."])
def test_nothing_there(tmp_path, path):
    with pytest.raises(CheckpointError, match="no such file"):
        Encoder.load(tmp_path / path)


def test_weights_without_a_config(copy):
    path = copy()
    (path / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"config\.json: not a readable configuration"):
        Encoder.load(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hidden_dim": 100}, "hidden_dim 100 is not a multiple of num_heads 3"),
        ({"hidden_dim": 6}, "not a multiple of 4"),
        ({"patch_size": 0}, "patch_size must be positive"),
        ({"cos_sim_std": float("nan")}, "cos_sim_std must be positive"),
        ({"dit_depth": "2"}, "dit_depth must be of type int, not '2'"),
        ({"qkv_bias": 1}, "qkv_bias must be of type bool"),
        ({"num_heads": True}, "num_heads must be of type int"),
        ({"in_dim": 4}, "in_dim must be 3, not 4"),
        ({"window": 8}, "unknown keys window"),
    ],
)
def test_configurations_that_no_network_has(tmp_path, change, words):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads((TINY / "config.json").read_text()), **change}))
    with pytest.raises(ConfigError, match=words) as raised:
        EdenConfig.from_file(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("content", ["", "[]", "{", "3"])
def test_files_that_are_no_configuration(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ConfigError, match=r"config\.json"):
        EdenConfig.from_file(tmp_path / "config.json")


def test_a_configuration_comes_back_as_it_was_written(tmp_path):
    config = EdenConfig(patch_size=8, hidden_dim=64, num_heads=4, qkv_bias=True)
    config.write(tmp_path / "config.json")
    assert EdenConfig.from_file(tmp_path / "config.json") == config


def test_split_from_the_command_line(tmp_path, capsys):
    assert main(["split", str(TINY), str(tmp_path / "half"), "--half", "encoder", "--precision", "bf16"]) == 0
    Encoder.load(tmp_path / "half")
    with safe_open(tmp_path / "half" / "weights.safetensors", "pt") as file:
        assert file.get_tensor("norm_cond_dit.bias").dtype == torch.bfloat16
    assert main(["split", str(tmp_path / "nowhere"), str(tmp_path), "--half", "encoder"]) == 1
    assert "no such file" in capsys.readouterr().err
