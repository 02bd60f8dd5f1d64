"""How far a run is."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass
class Progress:
    """Over all pieces of a run."""

    step: int = 0
    samples: int = 0
    """Triplets of any size."""
    seconds: float = 0.0
    """By the clock."""
    optimiser_began: int = 0
    """The step at which the optimiser knew nothing yet: 0, but where a run went on from an export."""

    @property
    def age(self) -> int:
        """Steps of the optimiser."""
        return self.step - self.optimiser_began

    def dumped(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def loaded(cls, text: str) -> Progress:
        return cls(**json.loads(text))
