"""EDEN in plain PyTorch: `Encoder` turns frames into tokens, `DitDecoder` turns tokens into the frames between.

docs/model.md specifies what is computed, and explains the letters in shapes such as [K,n,d].
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eden.checkpoint import CheckpointError
    from eden.config import ConfigError, EdenConfig
    from eden.dit_decoder import DitDecoder
    from eden.encoder import Encoder
    from eden.geometry import MIN_SIDE, padded_grid
    from eden.output import EncoderOutput
    from eden.planes import Planes, YuvFormat

_MODULES = {
    "MIN_SIDE": "geometry",
    "CheckpointError": "checkpoint",
    "ConfigError": "config",
    "DitDecoder": "dit_decoder",
    "EdenConfig": "config",
    "Encoder": "encoder",
    "EncoderOutput": "output",
    "Planes": "planes",
    "YuvFormat": "planes",
    "padded_grid": "geometry",
}
"""Modules by the name that they define, each imported at first use: the hand-off needs no network."""

__all__ = [
    "MIN_SIDE",
    "CheckpointError",
    "ConfigError",
    "DitDecoder",
    "EdenConfig",
    "Encoder",
    "EncoderOutput",
    "Planes",
    "YuvFormat",
    "padded_grid",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'eden' has no attribute {name!r}")
    return getattr(importlib.import_module(f"eden.{_MODULES[name]}"), name)
