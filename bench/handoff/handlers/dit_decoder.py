"""A node that only takes, and answers how many bytes came, and in a batch of how many."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from handoff import HandoffSettings, open_handoff
from server.pause import pause_until


class OnlyTakes:
    """Answers "BYTES in a batch of N"."""

    def initialize(self, context: Any) -> None:
        torch.set_num_threads(1)
        section = context.model_yaml_config["handler"]["handoff"]
        self.handoff = open_handoff(HandoffSettings(**{**section, "folder": Path(section["folder"])}))

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[bytes]:
        started = time.monotonic()
        answers = []
        for item in data:
            output = self.handoff.take(bytes(item.get("body") or item["data"]))
            count = sum(tensor.numel() * tensor.element_size() for tensor in output.tensors().values())
            answers.append(f"{count} bytes in a batch of {len(data)}".encode())
        pause_until(started)
        return answers
