"""Prints mypy's errors of each fault in the form that mutmut reads: JSON, one error per line.

mutmut puts all faults of a function beside it, each as a function of its own. Errors that come from that
arrangement are left out: those of code between these functions, of the one without a fault, and of types that several
of them define.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from bench.mutants import PLACES
from media.signals import exit_when_told_to

ARRANGEMENT = (
    "has-type",
    "no-any-return",
    "no-redef",
    "unreachable",
    "untyped-decorator",
    "unused-ignore",
    "var-annotated",
)
"""Kinds of errors that are left out: the faults of one function share what they define."""


def main() -> None:
    """Print the errors; started in the folder in which mutmut has put all faults."""
    checked = [sys.executable, "-m", "mypy", "--output", "json", *PLACES]
    told = subprocess.run(checked, stdout=subprocess.PIPE, text=True, check=False).stdout
    errors = defaultdict(list)
    for line in told.splitlines():
        error = json.loads(line)
        if error["severity"] == "error" and error["code"] not in ARRANGEMENT:
            errors[error["file"]].append(error)
    for file, of_file in errors.items():
        functions = _functions(Path(file))
        named = [(functions.get(error["line"], ("", "")), error) for error in of_file]
        without_fault = {(name, error["message"]) for (name, fault), error in named if fault == "orig"}
        for (name, fault), error in named:
            if fault and (name, error["message"]) not in without_fault:
                print(json.dumps(error))


def _functions(path: Path) -> dict[int, tuple[str, str]]:
    """The function that each line belongs to, and the number of its fault ("orig": none); other lines are left out."""
    found = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef) and "__mutmut_" in node.name:
            name, _, fault = node.name.rpartition("__mutmut_")
            found.update(dict.fromkeys(range(node.lineno, (node.end_lineno or node.lineno) + 1), (name, fault)))
    return found


if __name__ == "__main__":
    exit_when_told_to()
    main()
