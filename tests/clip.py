"""The demo clip in small, drawn once: 24 frames with real motion, uint8 [128, 224, 3]."""

from eden_client.cli.demo_clip import draw_clip

CLIP = [frame[::2, ::2].copy() for frame in draw_clip()]
