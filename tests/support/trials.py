"""What `python -m tests.proof`, `.histories` and `.soak` have in common: a seed, a folder, a report and an exit code.

What is tried, and what of it is a finding, is theirs.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Say = Callable[[str], None]

SHOWN = 20
"""Findings of one kind that a person is shown."""


def add_options(parser: argparse.ArgumentParser, seed: str) -> None:
    """`--seed`, with what it repeats, and `--format`."""
    parser.add_argument("--seed", type=int, help=seed)
    parser.add_argument(
        "--format", choices=["text", "json"], default="text", help="for people, or for programs"
    )


def run(
    name: str,
    options: argparse.Namespace,
    play: Callable[[Path, int, Say], dict[str, Any]],
    text: Callable[[dict[str, Any]], str],
) -> int:
    """Plays in a folder of its own, which is kept where the report has `findings` (a list, or lists by kind).

    The exit code: 1 where it has.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    say(f"seed {seed}; files in {folder}")
    report = play(folder, seed, say)
    findings = report["findings"]
    found = any(findings.values()) if isinstance(findings, dict) else bool(findings)
    if not found:
        shutil.rmtree(folder)
    print(json.dumps(report, indent=2, ensure_ascii=False) if options.format == "json" else text(report))
    return int(found)


def say(line: str) -> None:
    """How it goes; standard output is the report's."""
    print(line, file=sys.stderr, flush=True)


def shown(findings: Sequence[str], of: str = "") -> list[str]:
    """The first of the findings, a line each, and how many more there are."""
    lines = [f"  {of}{each}" for each in findings[:SHOWN]]
    return lines + [f"  {of}and {len(findings) - SHOWN} more"] * (len(findings) > SHOWN)
