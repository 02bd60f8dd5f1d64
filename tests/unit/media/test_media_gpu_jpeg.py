"""Where there is no JPEG on the GPU, and why; what it does where there is one, tests/gpu/test_gpu_jpeg.py shows."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch

from media.gpu_jpeg import GpuJpeg, Unavailable

ROOT = Path(__file__).parents[3]


def run(code: str) -> str:
    """What a new process prints that runs `code`."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_it_needs_neither_torch_nor_torchvision():
    code = "import sys; sys.modules['torch'] = sys.modules['torchvision'] = None; import media.gpu_jpeg; print('here')"
    assert run(code) == "here"


def test_importing_it_loads_neither_of_them():
    assert run("import sys, media.gpu_jpeg; print({'torch', 'torchvision'} & sys.modules.keys())") == "set()"


def test_another_device_is_named():
    with pytest.raises(Unavailable, match="not cpu"):
        GpuJpeg(torch.device("cpu"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_what_is_missing_is_named():
    # PyPI's torchvision does not load beside a PyTorch without CUDA
    here = importlib.util.find_spec("torchvision") is not None
    with pytest.raises(Unavailable, match="does not load|no CUDA device" if here else "torchvision is not installed"):
        GpuJpeg(torch.device("cuda"))


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (None, "torchvision is not installed"),
        ("raise RuntimeError('operator torchvision::nms does not exist')", "does not load: operator torchvision::nms"),
        ("__version__ = '0.25.1+cu128'", "torchvision 0.25.1+cu128 is older than 0.26"),
    ],
    ids=["missing", "another PyTorch's", "old"],
)
def test_a_torchvision_that_will_not_do_is_named(source, why, tmp_path, monkeypatch):
    if source is not None:
        (tmp_path / "torchvision").mkdir()
        (tmp_path / "torchvision" / "__init__.py").write_text(source, encoding="utf-8")
        (tmp_path / "torchvision" / "io.py").touch()
        monkeypatch.syspath_prepend(tmp_path)
    with mock.patch.dict(sys.modules):  # as they were, afterwards
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        if source is None:
            sys.modules["torchvision"] = None
        with pytest.raises(Unavailable, match=re.escape(why)):
            GpuJpeg(torch.device("cuda"))
