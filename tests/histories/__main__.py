"""`python -m tests.histories`: random histories of two PAS and a RIS against a running broker, held against a model.

The seed decides what is said; in which order the sources win is the machine's, and read back from the journal.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.histories import planted, stage
from tests.support import trials

EXAMPLES = """examples:
  python -m tests.histories --events 10000
  python -m tests.histories --events 500 --seed 7 --format json
  python -m tests.histories --events 10000 --store postgresql://broker@localhost/empty
  python -m tests.histories --events 500 --plant steps-stay

exit code: 0 register, worklist and destinations are what the model says, 1 something is not, 2 wrong options
"""


def main() -> int:
    options = _options()

    def play(folder: Path, seed: int, say: trials.Say) -> dict[str, Any]:
        settings = planted.steps_stay(folder) if options.plant else {}
        return asdict(stage.play(folder, options.events, seed, say, store=options.store, settings=settings))

    return trials.run("histories", options, play, text)


def text(report: dict[str, Any]) -> str:
    """The report for people: every number with its name, then what was found."""
    counts = {name: value for name, value in report.items() if name not in ("sent", "received", "findings")}
    counts |= {f"sent by {name}": count for name, count in report["sent"].items()}
    counts |= {f"received by {name}": count for name, count in report["received"].items()}
    lines = [f"{name.replace('_', ' '):<24} {value}" for name, value in counts.items()]
    lines.append(f"{'findings':<24} {len(report['findings'])}")
    return "\n".join(lines + trials.shown(report["findings"]))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.histories",
        description="Random histories with merges from two PAS and a RIS at once, held against a model.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--events", type=int, default=10_000, help="messages, repeats among them (10000)")
    trials.add_options(parser, seed="say what another run said")
    parser.add_argument("--store", default="", help="an empty PostgreSQL database; without, an SQLite file")
    parser.add_argument(
        "--plant",
        choices=[planted.STEPS_STAY],
        help="plant a fault: the comparison must find what comes of it",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
