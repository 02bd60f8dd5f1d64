"""Pictures and videos to arrays and back. A frame is uint8 RGB [H, W, 3]; all functions may run in any thread."""

from media.arrays import NPY_MAGIC, decode_npy, encode_npy, zip_images
from media.errors import MediaError
from media.images import Frame, decode_image, encode_image
from media.peek import Peeked, peek
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
