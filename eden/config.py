"""Sizes and constants of one EDEN network, as its `config.json` states them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

FIXED = {"in_dim": 3, "out_dim": 3, "add_attn_decoder": True, "add_attn_type": "temporal_attn"}
"""Keys that published configurations have as well, with the only values that this package supports."""


class ConfigError(ValueError):
    """A configuration cannot be read, or is not one that an EDEN network can have."""


@dataclass(frozen=True)
class EdenConfig:
    """Sizes and constants of the network (docs/model.md: "Letters"). The defaults are the published checkpoint's.

    Raises ConfigError for a value of the wrong type or range, naming the field.
    """

    patch_size: int = 16
    """Side of a patch, in pixels."""
    latent_dim: int = 16
    """Channels of a latent token."""
    hidden_dim: int = 768
    """Channels of every other token."""
    num_heads: int = 12
    """Heads of each attention; `hidden_dim` is a multiple of it."""
    mlp_ratio: float = 4.0
    """Width of an MLP's hidden layer, as a multiple of `hidden_dim`."""
    dit_depth: int = 12
    """Blocks of the DiT."""
    decoder_depth: int = 4
    """Blocks of the decoder."""
    qkv_bias: bool = False
    """Whether the linear layers of attention have a bias."""
    cos_sim_mean: float = 0.990539
    cos_sim_std: float = 0.0608093
    """Mean and standard deviation of two frames' similarity in the training set (docs/model.md: "Difference")."""
    vae_scaler: float = 0.179437
    vae_shift: float = 0.770202
    """The decoder's latents are the sampled ones / vae_scaler + vae_shift (docs/model.md: "Sampling")."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value, wanted = getattr(self, field.name), type(field.default)
            # an int is accepted for a float; a bool, which Python counts as an int, is not
            if type(value) not in ((int, float) if wanted is float else (wanted,)):
                raise ConfigError(f"{field.name} must be of type {wanted.__name__}, not {value!r}")
            if field.name not in ("cos_sim_mean", "vae_shift", "qkv_bias") and not value > 0:
                raise ConfigError(f"{field.name} must be positive, not {value!r}")
        if self.hidden_dim % self.num_heads:
            raise ConfigError(f"hidden_dim {self.hidden_dim} is not a multiple of num_heads {self.num_heads}")
        if self.hidden_dim % 4:
            raise ConfigError(f"hidden_dim {self.hidden_dim} is not a multiple of 4, which position embeddings need")

    @property
    def mlp_dim(self) -> int:
        """Width of an MLP's hidden layer, in channels."""
        return int(self.hidden_dim * self.mlp_ratio)

    @property
    def patch_values(self) -> int:
        """Numbers in one patch: 3 colours of patch_size x patch_size pixels."""
        return 3 * self.patch_size**2

    @classmethod
    def from_file(cls, path: str | Path) -> EdenConfig:
        """Read a `config.json`. A missing key gets the published value.

        Raises ConfigError for a file that cannot be read, an unknown key, or a bad value.
        """
        path = Path(path)
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path}: not a readable configuration ({error})") from error
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: a configuration is a JSON object, not {type(values).__name__}")
        for name, only in FIXED.items():
            if (found := values.pop(name, only)) != only:
                raise ConfigError(f"{path}: {name} must be {only!r}, not {found!r}")
        if unknown := sorted(set(values) - {field.name for field in fields(cls)}):
            raise ConfigError(f"{path}: unknown keys {', '.join(unknown)}")
        try:
            return cls(**values)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error

    def write(self, path: str | Path) -> None:
        """Write the configuration as a `config.json` for `from_file`."""
        Path(path).write_text(json.dumps({**FIXED, **asdict(self)}, indent=2) + "\n", encoding="utf-8")
