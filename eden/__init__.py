"""EDEN in plain PyTorch: frames to tokens, tokens to the frame between."""

from eden.checkpoint import CheckpointError
from eden.config import ConfigError, EdenConfig
from eden.dit_decoder import DitDecoder
from eden.encoder import Encoder
from eden.geometry import MIN_SIDE, padded_grid
from eden.output import EncoderOutput
from eden.planes import Planes, YuvFormat

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
