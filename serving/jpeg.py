"""JPEG on a node's GPU, for a whole batch in one call; pictures that it cannot decode are left to the CPU."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Literal

import torch

from media.gpu_jpeg import GpuJpeg, Unavailable
from media.images import DEFAULT_QUALITY
from serving.clip import ClipSource
from serving.settings import SettingsError

logger = logging.getLogger(__name__)


ALONE = 2
"""Most frames of a batch that are encoded on the GPU with the setting jpeg: auto, for the least delay of a lone caller.
More frames are encoded faster by the CPU's threads, while the GPU draws (docs/performance.md)."""


class BatchJpeg:
    """Decodes or encodes the pictures of many requests in one call.

    decodes: whether it decodes, too. Where a JPEG's scan ends early, its sender would see what was decoded before, that
    is other callers' frames: so only if callers may see each other's frames.
    """

    def __init__(self, coder: GpuJpeg, max_pixels: int, decodes: bool) -> None:
        self._coder, self._max_pixels, self._decodes = coder, max_pixels, decodes

    def decode(self, sources: Mapping[int, ClipSource]) -> dict[int, list[torch.Tensor | None]]:
        """Decoded pictures, uint8 [3, H, W] on the device, by the key of their clip; None: left to the CPU.

        Clips without a picture that the GPU can decode are left out.
        """
        if not self._decodes:
            return {}
        pictures = {key: [data for _, data in source.parts] for key, source in sources.items() if source.is_pictures}
        files = [data for of_one in pictures.values() for data in of_one]
        decoded = iter(self._coder.decode(files, max_pixels=self._max_pixels))
        found = {key: list(islice(decoded, len(of_one))) for key, of_one in pictures.items()}
        return {key: tensors for key, tensors in found.items() if any(tensor is not None for tensor in tensors)}

    def encodes(self, frames: int) -> bool:
        """Whether `frames` frames of a batch are encoded here, rather than by the CPU."""
        return self._decodes or frames <= ALONE

    def encode(self, frames: Sequence[torch.Tensor], qualities: Sequence[int | None]) -> list[bytes]:
        """Encode each frame, uint8 [3, H, W] on the device, in its quality. Raises RuntimeError if nvJPEG fails."""
        coded: dict[int, bytes] = {}
        chosen = [quality or DEFAULT_QUALITY for quality in qualities]
        for quality in set(chosen):
            alike = [index for index, each in enumerate(chosen) if each == quality]
            coded |= zip(alike, self._coder.encode([frames[index] for index in alike], quality), strict=True)
        return [coded[index] for index in range(len(frames))]


def open_jpeg(wanted: Literal["auto", "gpu", "cpu"], device: torch.device, max_pixels: int) -> BatchJpeg | None:
    """The JPEG coder of this device; None: the CPU does it. Raises SettingsError if "gpu" is wanted but not there."""
    if wanted == "cpu" or (wanted == "auto" and device.type != "cuda"):
        return None
    try:
        coder = GpuJpeg(device)
    except Unavailable as error:
        if wanted == "gpu":
            raise SettingsError(f"handler settings: jpeg is gpu, but there is none here: {error}") from error
        logger.warning("JPEG by the CPU: %s", error)
        return None
    logger.info("JPEG %s by %s", "decoded and encoded" if wanted == "gpu" else "of lone pairs encoded", device)
    return BatchJpeg(coder, max_pixels, decodes=wanted == "gpu")
