"""Pictures and videos to arrays and back. A frame is uint8 RGB [H, W, 3]; all functions may run in any thread.

What is named here is imported when it is first asked for: of the package's other modules some are small, and who needs
these alone does not wait for NumPy, Pillow and FFmpeg.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from media.arrays import NPY_MAGIC, decode_npy, encode_npy, zip_images
    from media.errors import MediaError
    from media.images import Frame, decode_image, encode_image
    from media.peeking import Peeked, peek
    from media.video_reader import Video, open_video
    from media.video_writer import encode_video

__all__ = [
    "NPY_MAGIC",
    "Frame",
    "MediaError",
    "Peeked",
    "Video",
    "decode_image",
    "decode_npy",
    "encode_image",
    "encode_npy",
    "encode_video",
    "open_video",
    "peek",
    "zip_images",
]

_MODULES = {
    "arrays": ("NPY_MAGIC", "decode_npy", "encode_npy", "zip_images"),
    "errors": ("MediaError",),
    "images": ("Frame", "decode_image", "encode_image"),
    "peeking": ("Peeked", "peek"),
    "video_reader": ("Video", "open_video"),
    "video_writer": ("encode_video",),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
