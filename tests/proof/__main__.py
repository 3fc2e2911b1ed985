"""`python -m tests.proof`: harms a broker under load and looks for what it acknowledged (`make proof`).

Episodes follow each other until the time is up, each with a fresh broker and every kind of harm in an order drawn by
the seed. The seed decides what is done and when; what the machine makes of it in the meantime is its own.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.proof import cluster, engine, faults, harms, network, planted, stage
from tests.proof.disk import LYING
from tests.proof.episode import Tally, play
from tests.support import trials
from tests.support.needs import find_program

ROUNDS = 10
"""Of one episode, at least: every kind comes equally often. On a cluster each comes once: its start takes long."""

_COUNTS = (
    *("kills", "connections_harmed", "messages_acknowledged", "images_acknowledged"),
    *("refused", "repeats", "came_again"),
)

EXAMPLES = """examples:
  python -m tests.proof --minutes 10
  python -m tests.proof --minutes 2 --only power,errors --seed 7 --format json
  python -m tests.proof --cluster amqp --minutes 10
  python -m tests.proof --cluster redis --minutes 2 --only kill-leader,stall-deliver,cut-store
  python -m tests.proof --minutes 2 --engine localhost:6661 --sink-port 6662 \\
      --kill-command 'docker kill mirth' --restart-command 'docker start mirth'

exit code: 0 nothing was lost and all was in order, 1 something was found, 2 wrong options
"""


def main() -> int:
    options = _options()
    run = engine.play if options.engine else _on_cluster if options.cluster else _alone

    def harm(folder: Path, seed: int, say: trials.Say) -> dict[str, Any]:
        tally = run(options, folder, seed, say)
        return {"seed": seed, **asdict(tally), "folder": str(folder) if tally.findings.any else ""}

    return trials.run("proof", options, harm, text)


def _alone(options: argparse.Namespace, folder: Path, seed: int, say: trials.Say) -> Tally:
    """One process, and its disk."""
    kinds = list(options.only)
    if "disk" in kinds and (why := stage.why_no_small_disk(folder)):
        say(f"disk is left out: {why}")
        kinds.remove("disk")
    settings = LYING if options.lying_disk else {}

    def episode(place: Path, name: str, order: Sequence[str], tell: Callable[[str], None]) -> Tally:
        return play(stage.set_up(place, name, settings), faults.KINDS, order, tell)

    return _episodes(options.minutes, folder, seed, say, kinds * -(-ROUNDS // max(1, len(kinds))), episode)


def _on_cluster(options: argparse.Namespace, folder: Path, seed: int, say: trials.Say) -> Tally:
    """Several nodes of each role, and the network between them."""
    net, why = network.best(folder, random.Random(f"{seed} network"), options.network)
    say(f"hosts are cut apart by {net.cut_is}{f' ({why})' if why else ''}")
    settings = {"BROKER_EXECUTOR": options.executor}
    if options.plant == planted.BLIND:
        settings |= planted.blind(folder)
    answer = planted.forgetful(cluster.slowly) if options.plant == planted.FORGETFUL else cluster.slowly

    def episode(place: Path, name: str, order: Sequence[str], tell: Callable[[str], None]) -> Tally:
        standing = cluster.set_up(place, name, net, options.cluster, tell, settings, answer)
        return play(standing, harms.KINDS, order, tell)

    try:
        return _episodes(options.minutes, folder, seed, say, list(options.only), episode)
    finally:
        net.close()


def _episodes(
    minutes: float,
    folder: Path,
    seed: int,
    say: trials.Say,
    kinds: Sequence[str],
    episode: Callable[[Path, str, Sequence[str], Callable[[str], None]], Tally],
) -> Tally:
    """Plays whole episodes until the time is up, one at least, each with these kinds in an order of its own."""
    total, number, end = Tally(), 0, time.monotonic() + minutes * 60
    while kinds and not (number and (time.monotonic() > end or total.findings.any)):
        name = f"{seed}-{number}"
        order = random.Random(name).sample(kinds, len(kinds))
        place = folder / f"episode-{number}"
        tally = episode(place, name, order, _progress(f"episode {number}", say))
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
        f"{name:<26} {value}"
        for name, value in (
            ("seed", report["seed"]),
            *((f"rounds of {kind}", count) for kind, count in sorted(report["rounds"].items())),
            *((name.replace("_", " "), report[name]) for name in _COUNTS),
            *((name.replace("_", " "), len(found)) for name, found in findings.items()),
        )
    ]
    for name, found in findings.items():
        lines += trials.shown(found, of=f"{name}: ")
    if report["folder"]:
        lines.append(f"journal and logs of what was found: {report['folder']}")
    return "\n".join(lines)


def _progress(place: str, say: trials.Say) -> Callable[[str], None]:
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
    trials.add_options(parser, seed="repeat the decisions of another run")
    parser.add_argument(
        "--only",
        metavar="KIND,…",
        help=f"some of {', '.join(faults.KINDS)}; with --cluster of {', '.join(harms.KINDS)}",
    )
    parser.add_argument(
        "--lying-disk",
        action="store_true",
        help="plant a fault: syncs do nothing; the proof must find what is lost",
    )
    group = parser.add_argument_group(
        "a cluster", "two nodes of each role, PostgreSQL, and one of these between them"
    )
    group.add_argument("--cluster", choices=list(cluster.BUSES), help="RabbitMQ, or Redis")
    group.add_argument(
        "--executor", choices=["celery", "threads"], default="celery", help="what delivers (celery)"
    )
    group.add_argument(
        "--network",
        choices=["kernel", "relays"],
        default="",
        help="network namespaces, or TCP proxies on loopback; without, the first where the machine allows it",
    )
    group.add_argument(
        "--plant", choices=planted.FAULTS, help="plant a fault: the proof must find what comes of it"
    )
    engine.add_options(parser)
    options = parser.parse_args()
    known = harms.KINDS if options.cluster else faults.KINDS
    options.only = tuple(options.only.split(",")) if options.only else tuple(known)
    if unknown := set(options.only) - set(known):
        parser.error(f"--only: {', '.join(sorted(unknown))} is none of {', '.join(known)}")
    if options.engine and not (options.restart_command and options.sink_port):
        parser.error("--engine needs --restart-command and --sink-port")
    if not (options.engine or options.cluster) and find_program("cc") is None:
        parser.error("there is no C compiler (cc) here; deploy/test-packages.sh installs one")
    return options


if __name__ == "__main__":
    sys.exit(main())
