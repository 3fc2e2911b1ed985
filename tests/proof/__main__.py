"""`python -m tests.proof`: harms a broker under load and looks for what it acknowledged (`make proof`).

Episodes follow each other until the time is up, each with a fresh broker and every kind of harm in an order drawn by
the seed. The seed decides what is done and when; what the machine makes of it in the meantime is its own.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.proof import engine
from tests.proof.disk import LYING
from tests.proof.episode import Tally, play
from tests.proof.faults import KINDS
from tests.proof.stage import why_no_small_disk
from tests.support.needs import find_program

ROUNDS = 10
"""Of one episode, at least: every kind comes equally often."""

EXAMPLES = """examples:
  python -m tests.proof --minutes 10
  python -m tests.proof --minutes 2 --only power,errors --seed 7 --format json
  python -m tests.proof --minutes 2 --engine localhost:6661 --sink-port 6662 \\
      --kill-command 'docker kill mirth' --restart-command 'docker start mirth'

exit code: 0 nothing was lost and all was in order, 1 something was found, 2 wrong options
"""


def main() -> int:
    options = _options()
    folder = Path(tempfile.mkdtemp(prefix="proof-"))
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    _say(f"seed {seed}; files in {folder}")
    run = engine.play if options.engine else _episodes
    tally = run(options, folder, seed, _say)
    found = tally.findings.any
    if not found:
        shutil.rmtree(folder)
    report = {"seed": seed, **asdict(tally), "folder": str(folder) if found else ""}
    print(json.dumps(report, indent=2) if options.format == "json" else text(report))
    return int(found)


def _episodes(options: argparse.Namespace, folder: Path, seed: int, say: Callable[[str], None]) -> Tally:
    """Plays whole episodes until the time is up, one at least."""
    kinds = list(options.only)
    if "disk" in kinds and (why := why_no_small_disk(folder)):
        say(f"disk is left out: {why}")
        kinds.remove("disk")
    settings = LYING if options.lying_disk else {}
    total, number, end = Tally(), 0, time.monotonic() + options.minutes * 60
    while kinds and not (number and (time.monotonic() > end or total.findings.any)):
        name = f"{seed}-{number}"
        deals = kinds * -(-ROUNDS // len(kinds))
        order = random.Random(name).sample(deals, len(deals))
        place = folder / f"episode-{number}"
        tally = play(place, name, order, _progress(f"episode {number}", say), settings)
        total.add(tally)
        number += 1
        if not tally.findings.any:
            shutil.rmtree(place)
        say(
            f"episode {number - 1}: {tally.messages_acknowledged} messages and {tally.images_acknowledged} images"
        )
    return total


def text(report: dict[str, Any]) -> str:
    """The report for people: every number with its name, then what was found."""
    findings = report["findings"]
    lines = [
        f"seed                   {report['seed']}",
        *(f"rounds of {kind:<12} {count}" for kind, count in sorted(report["rounds"].items())),
        f"kills                  {report['kills']}",
        f"connections harmed     {report['connections_harmed']}",
        f"messages acknowledged  {report['messages_acknowledged']}",
        f"images acknowledged    {report['images_acknowledged']}",
        f"refused                {report['refused']}",
        f"repeats sent           {report['repeats']}",
        *(f"{name.replace('_', ' '):<22} {len(found)}" for name, found in findings.items()),
    ]
    for name, found in findings.items():
        lines += [f"  {name}: {each}" for each in found[:20]]
        lines += [f"  {name}: and {len(found) - 20} more"] * (len(found) > 20)
    if report["folder"]:
        lines.append(f"journal and logs of what was found: {report['folder']}")
    return "\n".join(lines)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _progress(place: str, say: Callable[[str], None]) -> Callable[[str], None]:
    return lambda line: say(f"{place}: {line}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.proof",
        description="Harm a broker under load and look for everything that it acknowledged.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="begin no new episode after this time (10)"
    )
    parser.add_argument("--seed", type=int, help="repeat the decisions of another run")
    parser.add_argument(
        "--only", type=_kinds, default=tuple(KINDS), metavar="KIND,…", help=f"some of {', '.join(KINDS)}"
    )
    parser.add_argument(
        "--format", choices=["text", "json"], default="text", help="for people, or for programs"
    )
    parser.add_argument(
        "--lying-disk",
        action="store_true",
        help="plant a fault: syncs do nothing; the proof must find what is lost",
    )
    engine.add_options(parser)
    options = parser.parse_args()
    if options.engine and not (options.restart_command and options.sink_port):
        parser.error("--engine needs --restart-command and --sink-port")
    if not options.engine and find_program("cc") is None:
        parser.error("there is no C compiler (cc) here; deploy/test-packages.sh installs one")
    return options


def _kinds(text: str) -> tuple[str, ...]:
    kinds = tuple(text.split(","))
    for kind in kinds:
        if kind not in KINDS:
            raise argparse.ArgumentTypeError(f"{kind!r} is none of {', '.join(KINDS)}")
    return kinds


if __name__ == "__main__":
    sys.exit(main())
