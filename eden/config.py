"""The shape of one EDEN network, as its `config.json` says it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

FIXED = {"in_dim": 3, "out_dim": 3, "add_attn_decoder": True, "add_attn_type": "temporal_attn"}
"""What published configurations also name, with the only values that this package computes."""


class ConfigError(ValueError):
    """A configuration that no EDEN network can have, or that is not a configuration at all."""


@dataclass(frozen=True)
class EdenConfig:
    """Sizes and constants of the network. The defaults are those of the published checkpoint (arXiv 2503.15831)."""

    patch_size: int = 16
    """Side of a patch, in pixels."""
    latent_dim: int = 16
    """Channels of a latent token."""
    hidden_dim: int = 768
    """Channels of every other token."""
    num_heads: int = 12
    mlp_ratio: float = 4.0
    """Width of an MLP over `hidden_dim`."""
    dit_depth: int = 12
    decoder_depth: int = 4
    qkv_bias: bool = False
    cos_sim_mean: float = 0.990539
    cos_sim_std: float = 0.0608093
    """Mean and standard deviation of the cosine similarity of two frames over the training set."""
    vae_scaler: float = 0.179437
    vae_shift: float = 0.770202
    """Decoder latents = sampled latents / vae_scaler + vae_shift."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value, wanted = getattr(self, field.name), type(field.default)
            # a whole number will do for a float, True for neither
            if type(value) not in ((int, float) if wanted is float else (wanted,)):
                raise ConfigError(f"{field.name} must be of type {wanted.__name__}, not {value!r}")
            if field.name not in ("cos_sim_mean", "vae_shift", "qkv_bias") and not value > 0:
                raise ConfigError(f"{field.name} must be positive, not {value!r}")
        if self.hidden_dim % self.num_heads:
            raise ConfigError(f"hidden_dim {self.hidden_dim} does not split into {self.num_heads} heads")
        if self.hidden_dim % 4:
            raise ConfigError(f"hidden_dim {self.hidden_dim} is no multiple of 4, as position embeddings need")

    @property
    def mlp_dim(self) -> int:
        """Width of an MLP, in channels."""
        return int(self.hidden_dim * self.mlp_ratio)

    @property
    def patch_values(self) -> int:
        """Numbers in one patch: 3 colours of patch_size x patch_size pixels."""
        return 3 * self.patch_size**2

    @classmethod
    def from_file(cls, path: str | Path) -> EdenConfig:
        """Read a `config.json`. A missing key takes the published value; an unknown one raises ConfigError."""
        path = Path(path)
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path}: no readable configuration ({error})") from error
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: a configuration is an object, not {type(values).__name__}")
        for name, only in FIXED.items():
            if values.pop(name, only) != only:
                raise ConfigError(f"{path}: {name} can only be {only!r}")
        if unknown := sorted(set(values) - {field.name for field in fields(cls)}):
            raise ConfigError(f"{path}: unknown keys {', '.join(unknown)}")
        try:
            return cls(**values)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error

    def write(self, path: str | Path) -> None:
        """Write it as a `config.json` that `from_file` reads back."""
        Path(path).write_text(json.dumps({**FIXED, **asdict(self)}, indent=2) + "\n", encoding="utf-8")
