"""The progress of a run."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass
class Progress:
    """Counts over all pieces of a run."""

    step: int = 0
    samples: int = 0
    """Triplets trained on, of any size."""
    seconds: float = 0.0
    """Wall-clock time of training."""
    optimiser_began: int = 0
    """The step at which the optimiser began without a state: 0, or where a run continued from an export."""

    @property
    def age(self) -> int:
        """Steps since the optimiser began."""
        return self.step - self.optimiser_began

    def dumped(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def loaded(cls, text: str) -> Progress:
        return cls(**json.loads(text))
