"""The proof on a cluster, in short: two nodes of each role lose nothing whatever is harmed, with Celery over RabbitMQ
and over Redis; and it finds what is planted. BROKER_TEST_SEED repeats one of these.

Each runs as a program of its own, because it takes itself into a network namespace.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.proof.harms import KINDS
from tests.support.needs import needs
from tests.support.shared import REPOSITORY

pytestmark = [pytest.mark.integration, pytest.mark.timeout(420)]

OVER_AMQP = ("kill-intake", "kill-leader", "wipe-bus", "cut-store", "stall-deliver")
OVER_REDIS = ("kill-deliver", "wipe-bus", "crash-store", "cut-destination", "stall-leader")

CABLE = """
import random, subprocess, sys
from pathlib import Path
from tests.proof.network import OUTSIDE, best
from tests.support.mllp import MllpSink

CLIENT = '''
import sys
from tests.support.messages import Person, adt
from tests.support.mllp import MllpClient, framed
host, port = sys.argv[1], int(sys.argv[2])
client = MllpClient(port, host, timeout=1.0)
for line in sys.stdin:
    try:
        if line.startswith("send"):
            client.send_raw(framed(adt("A08", "1-0", Person(number="1"))))
        client.receive()
        print("answer", flush=True)
    except TimeoutError:
        print("silence", flush=True)
'''

network, _ = best(Path(sys.argv[2]), random.Random(0), sys.argv[1])
sink = MllpSink(host=network.host(OUTSIDE))
sink.start()
host, port = network.way("node", OUTSIDE, sink.port)
command = [*network.before("node"), sys.executable, "-c", CLIENT, host, str(port)]
client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

def tell(what):
    print(what, file=client.stdin, flush=True)
    print(client.stdout.readline().strip(), len(sink.messages))

tell("send")
network.cut("node", OUTSIDE)
tell("send")
network.heal("node", OUTSIDE)
tell("wait")
tell("wait")
client.kill()
network.close()
"""


def prove(bus: str, kinds: Sequence[str], *options: str) -> dict[str, Any]:
    """The report of one episode; the exit code says whether something was found."""
    needs({"amqp": "rabbitmq-server", "redis": "redis-server"}[bus])
    assert set(kinds) <= set(KINDS)
    seed = os.environ.get("BROKER_TEST_SEED", str(random.SystemRandom().randrange(1_000_000)))
    print(f"BROKER_TEST_SEED={seed}")
    finished = subprocess.run(
        [
            *(sys.executable, "-m", "tests.proof", "--cluster", bus, "--minutes", "0.01", "--seed", seed),
            *("--only", ",".join(kinds), "--format", "json", *options),
        ],
        cwd=REPOSITORY,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    print(finished.stderr)
    print(finished.stdout)
    report: dict[str, Any] = json.loads(finished.stdout)
    assert finished.returncode == any(report["findings"].values())
    if "--plant" in options and report["folder"]:
        shutil.rmtree(report["folder"])
    return report


@pytest.mark.parametrize(("bus", "kinds"), [("amqp", OVER_AMQP), ("redis", OVER_REDIS)])
def test_nothing_acknowledged_is_lost_by_any_harm_to_a_cluster(bus: str, kinds: Sequence[str]) -> None:
    report = prove(bus, kinds)
    assert not any(report["findings"].values())
    assert report["rounds"] == dict.fromkeys(kinds, 1)
    assert report["messages_acknowledged"] > 200, "there was no load"
    assert report["images_acknowledged"] > 10, "there was no load"


def test_a_message_that_a_destination_forgets_is_found() -> None:
    assert prove("redis", ["kill-standby"], "--plant", "forgetful-epj")["findings"]["lost"]


def test_a_worker_that_ignores_its_lease_is_found() -> None:
    """Whether what it does late meets something newer is a matter of moments: it gets three rounds to be caught in."""
    rounds = (prove("redis", ["stall-deliver"] * 2, "--plant", "lease-blind")["findings"] for _ in range(3))
    assert any(found["out_of_order"] or found["doubled"] for found in rounds)


@pytest.mark.parametrize("kind", ["kernel", "relays"])
def test_a_cut_cable_is_silent_and_then_goes_on(kind: str, tmp_path: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-c", CABLE, kind, tmp_path],
        cwd=REPOSITORY,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    if "no network namespaces here" in finished.stderr:
        pytest.skip(finished.stderr.strip())
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.split("\n")[:2] == ["answer 1", "silence 1"]
    assert "answer 2" in finished.stdout, "what was sent arrives once the cable is whole"
