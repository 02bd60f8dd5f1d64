"""A node that only puts. The output is random, of the size that is asked for, and made once per size."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch

from eden import EncoderOutput
from handoff import HandoffSettings, open_handoff
from server.pause import pause_until

SMALL = (64, 64)


class OnlyPuts:
    """The body is {"size": [height, width]}; anything else gets a small output."""

    def initialize(self, context: Any) -> None:
        torch.set_num_threads(1)
        section = context.model_yaml_config["handler"]["handoff"]
        self.handoff = open_handoff(HandoffSettings(**{**section, "folder": Path(section["folder"])}))
        self.outputs: dict[tuple[int, int], EncoderOutput] = {}

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[bytes]:
        started = time.monotonic()
        tickets = [self.handoff.put(self.output(item.get("body"))) for item in data]
        pause_until(started)
        return tickets

    def output(self, body: Any) -> EncoderOutput:
        """Random tokens of the published configuration's shapes: patches of 16, 768 values each."""
        try:
            asked = json.loads(bytes(body)) if isinstance(body, bytes | bytearray) else body
            size = tuple(asked["size"])
        except (KeyError, TypeError, ValueError):
            size = SMALL
        if size not in self.outputs:
            grid = (-(-size[0] // 16), -(-size[1] // 16))
            for_dit, for_decoder = (torch.randn(2, grid[0] * grid[1], 768) for _ in range(2))
            ones = torch.ones(2)
            self.outputs[size] = EncoderOutput(for_dit, for_decoder, ones, ones, torch.ones(1), grid, size)
        return self.outputs[size]
