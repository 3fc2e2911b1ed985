"""`python -m tests.soak`: many simulated devices at a broker for a long time; do its files, threads and memory grow?

The seed decides what each device does; when, the machine has its part in.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from tests.soak import planted
from tests.soak.stage import Plan, as_json, play
from tests.support import trials
from tests.support.needs import find_program

EXAMPLES = """examples:
  python -m tests.soak --minutes 60 --devices 600
  python -m tests.soak --minutes 1 --devices 60 --pause 5 --seed 7 --format json
  python -m tests.soak --minutes 0.5 --devices 60 --pause 2 --plant leak

exit code: 0 all was answered and delivered and the curves are flat, 1 something was found, 2 wrong options
"""


def main() -> int:
    options = _options()
    seconds = options.minutes * 60

    def soak(folder: Path, seed: int, say: trials.Say) -> dict[str, Any]:
        plan = Plan(
            seconds=seconds,
            devices=options.devices,
            pause=options.pause,
            every=options.every or max(0.2, min(5.0, seconds / 100)),
            seed=seed,
            plants=tuple(options.plant),
        )
        return as_json(play(folder, plan, say))

    return trials.run("soak", options, soak, text)


def text(report: dict[str, Any]) -> str:
    """The report for people: every number with its name, the curves, then what was found."""
    lines = [f"{name:<22} {value:,}" for name, value in sorted(report["counts"].items())]
    lines.append(f"{'samples':<22} {report['samples']}")
    lines.append(f"{'over the second half':<22} {'first':>9} {'last':>9} {'growth':>9} {'allowed':>9}")
    for curve in report["curves"]:
        scale, unit = (2**20, " MB") if curve["name"] == "memory" else (1, "")
        values = (curve[name] / scale for name in ("first", "last", "growth", "allowed"))
        lines.append(f"{curve['name'] + unit:<22} " + " ".join(f"{value:>9.1f}" for value in values))
    lines.append(f"{'findings':<22} {len(report['findings'])}")
    return "\n".join(lines + trials.shown(report["findings"]))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak",
        description="Simulated devices poll, examine, store and misbehave; the broker's curves must stay flat.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="how long the devices work (60)")
    parser.add_argument("--devices", type=int, default=600, help="how many there are (600)")
    parser.add_argument(
        "--pause", type=float, default=30.0, help="seconds between two turns of a device, on average (30)"
    )
    parser.add_argument("--every", type=float, help="seconds between two samples (a hundredth, 5 at most)")
    trials.add_options(parser, seed="repeat the decisions of another run")
    parser.add_argument(
        "--plant",
        action="append",
        choices=list(planted.FAULTS),
        default=[],
        help="plant a fault: the soak must find it; may be given again",
    )
    options = parser.parse_args()
    if options.pause > 38:
        parser.error("--pause: above 38 kept associations are silent for longer than the broker waits (60 s)")
    if find_program("storescp") is None:
        parser.error("there is no storescp here; deploy/test-packages.sh installs DCMTK")
    return options


if __name__ == "__main__":
    sys.exit(main())
