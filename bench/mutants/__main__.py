"""Prints who noticed the faults that `make mutants` has tried, per package and per module.

    python -m bench.mutants

Faults that hung are counted apart. `mutmut results` names those that nobody noticed, `mutmut show NAME` shows one.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from bench.mutants import PLACES
from media.signals import exit_when_told_to

FATES = {1: "by a test", 3: "by a test", 37: "by mypy", -24: "hung", 36: "hung", 0: "by nobody", 33: "by nobody"}
"""Who noticed a fault, by the exit code that mutmut records; 33: no test calls the function."""


def main() -> None:
    """Print the table."""
    columns = ("by a test", "by mypy", "hung", "by nobody")
    print(f"{'noticed':40}", *(f"{column:>10}" for column in (*columns, "of", "in %")))
    for place in PLACES:
        fates = {path: _fates(path) for path in sorted(Path("mutants", place).rglob("*.py.meta"))}
        modules = {str(path).removeprefix("mutants/").removesuffix(".meta"): each for path, each in fates.items()}
        for name, fate in {place: sum(fates.values(), Counter[str]()), **modules}.items():
            if total := fate.total():
                noticed = 100 * (total - fate["by nobody"]) / total
                print(f"{name:40}", *(f"{fate[column]:10}" for column in columns), f"{total:10} {noticed:10.0f}")


def _fates(path: Path) -> Counter[str]:
    """How many faults of a module were noticed by whom; those that were not tried are left out."""
    codes = json.loads(path.read_text())["exit_code_by_key"].values()
    return Counter(FATES[code] for code in codes if code is not None)


if __name__ == "__main__":
    exit_when_told_to()
    main()
