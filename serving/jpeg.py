"""JPEG on the GPU that a node computes on, for a whole batch; what is not for it goes by the CPU, one by one."""

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
"""Frames of a batch up to which a GPU that does not decode encodes: a lone caller waits for each millisecond. Of more,
the CPU's threads encode more, and the GPU draws meanwhile (docs/performance.md)."""


class BatchJpeg:
    """Pictures of many requests in one call each way.

    decodes: whether it decodes, too. A scan that ends early would show its sender what was decoded before, and so other
    callers' frames: only for callers who may see each other's.
    """

    def __init__(self, coder: GpuJpeg, max_pixels: int, decodes: bool) -> None:
        self._coder, self._max_pixels, self._decodes = coder, max_pixels, decodes

    def decode(self, sources: Mapping[int, ClipSource]) -> dict[int, list[torch.Tensor | None]]:
        """By the key of each clip of pictures: uint8 [3, H, W] on the device for each, None where the CPU has to do it.

        Clips with no picture for the GPU are left out.
        """
        if not self._decodes:
            return {}
        pictures = {key: [data for _, data in source.parts] for key, source in sources.items() if source.is_pictures}
        files = [data for of_one in pictures.values() for data in of_one]
        decoded = iter(self._coder.decode(files, max_pixels=self._max_pixels))
        found = {key: list(islice(decoded, len(of_one))) for key, of_one in pictures.items()}
        return {key: tensors for key, tensors in found.items() if any(tensor is not None for tensor in tensors)}

    def encodes(self, frames: int) -> bool:
        """Whether so many frames of a batch are better encoded here."""
        return self._decodes or frames <= ALONE

    def encode(self, frames: Sequence[torch.Tensor], qualities: Sequence[int | None]) -> list[bytes]:
        """Each of `frames`, uint8 [3, H, W] on the device, in its quality. Raises RuntimeError: nvJPEG has failed."""
        coded: dict[int, bytes] = {}
        chosen = [quality or DEFAULT_QUALITY for quality in qualities]
        for quality in set(chosen):
            alike = [index for index, each in enumerate(chosen) if each == quality]
            coded |= zip(alike, self._coder.encode([frames[index] for index in alike], quality), strict=True)
        return [coded[index] for index in range(len(frames))]


def open_jpeg(wanted: Literal["auto", "gpu", "cpu"], device: torch.device, max_pixels: int) -> BatchJpeg | None:
    """JPEG on this device; None: by the CPU. Raises SettingsError where the GPU is insisted upon in vain."""
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
