"""EDEN in plain PyTorch: frames to tokens, tokens to the frame between."""

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
"""Loaded when first used: the hand-off needs `EncoderOutput`, and none of the networks."""

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
