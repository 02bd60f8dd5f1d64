"""Counts the arithmetic that a pass needs at least, whatever computes it."""

from __future__ import annotations

from eden.config import EdenConfig


def decoder_flop(config: EdenConfig, tokens: int, pairs: int, frames: int) -> float:
    """Floating-point operations from the tokens of `frames` frames (`tokens` patches each) to the frames of `pairs`.

    Nothing is counted twice: keys and values once per frame, temporal attention and the decoder's attention only for
    tokens that are kept. Norms and other steps without a matrix product are left out.
    """
    d, q = config.hidden_dim, tokens // 4

    def linear(rows: float, inputs: int, outputs: int) -> float:
        return 2.0 * rows * inputs * outputs

    def block(rows: int, looked_at: int, corners: int) -> float:
        """`rows` tokens that look at `looked_at`, and at `corners` tokens of either frame."""
        self_attention = linear(rows, d, 2 * d) + linear(looked_at, d, 2 * d) + 4.0 * rows * looked_at * d
        temporal = linear(rows, d, 4 * d) + 4.0 * rows * (2 * corners + 1) * d
        return self_attention + temporal + 2 * linear(rows, d, config.mlp_dim)

    a_frame = (config.dit_depth + config.decoder_depth) * linear(tokens, d, 2 * d)
    denoising = 2 * config.dit_depth * block(q, q, corners=4)
    decoding = config.decoder_depth * block(tokens, tokens + q, corners=1)
    pixels = linear(tokens, d, config.patch_values) + linear(tokens, config.patch_values, config.patch_values)
    return frames * a_frame + pairs * (denoising + decoding + pixels)
