"""Terminal sessions of the documentation, played again: what stands there is what the commands say.

A page with `console` blocks is a session: `$ ` begins a command, `> ` goes on with it, the rest is what it printed, and
`[2]` the exit code where it is not 0. The session runs from top to bottom beside a running broker with the shipped
configuration in a folder of its own; ports that the page gives `broker run` are free ones here. Times and versions may
differ; everything else may not.

    python -m tests.support.recorded docs/new-device.md      # writes the page anew
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.broker import Broker
from tests.support.configuration import changed
from tests.support.ports import free_port

FOLDER, HOST = "/srv/broker", "broker1"
"""What the page calls the folder and the machine."""

BLOCK = re.compile(r"(?<=^```console\n)(.*?)(?=^```$)", re.MULTILINE | re.DOTALL)
RESTART = "systemctl restart broker"
_OPENED = re.compile(r"(BROKER_\w+_PORT)=\d+ broker run\b")

_VARYING = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)"), "<time>"),
    (re.compile(r"\b\d\d:\d\d:\d\d\b"), "<time>"),
    (re.compile(r"\b[0-9a-f]{12}\b"), "<version>"),
)


@dataclass(frozen=True, slots=True)
class Step:
    """One command and what it printed."""

    command: str
    output: str

    def __str__(self) -> str:
        return "$ " + self.command.replace("\n", "\n> ") + "\n" + self.output


def steps(block: str) -> Iterator[Step]:
    """The commands of a block with what the page says that they print."""
    for part in re.split(r"^(?=\$ )", block, flags=re.MULTILINE):
        if part.startswith("$ "):
            lines = part.splitlines(keepends=True)
            more = next((n for n, line in enumerate(lines[1:], 1) if not line.startswith("> ")), len(lines))
            yield Step("".join(line[2:] for line in lines[:more]).rstrip("\n"), "".join(lines[more:]))


def masked(text: str) -> str:
    """The text without what differs each time."""
    for pattern, name in _VARYING:
        text = pattern.sub(name, text)
    return text


def replayed(page: str) -> str:
    """The page with every session's output as it is today."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        site = folder / "site"
        ports = {name: str(free_port()) for name in _OPENED.findall(page)}
        broker = Broker(folder, settings=changed(site, {}) | ports)
        broker.start()
        try:
            return BLOCK.sub(lambda match: "".join(map(str, _played(match[1], broker, site))), page)
        finally:
            broker.kill()


def _played(block: str, broker: Broker, site: Path) -> Iterator[Step]:
    for step in steps(block):
        if step.command == RESTART:
            broker.stop()
            broker.start()
            yield Step(step.command, "")
        else:
            yield Step(step.command, _printed(step.command, broker, site))


def _printed(command: str, broker: Broker, site: Path) -> str:
    python = Path(sys.executable)
    shim = site.parent / "bin" / "broker"
    if not shim.exists():
        shim.parent.mkdir()
        shim.write_text(f'#!/bin/sh\nexec "{python}" -m broker "$@"\n')
        shim.chmod(0o755)
    repository = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=site,
        env={
            "HOME": str(site),
            "LANG": "C.UTF-8",
            "LOGNAME": "kari",
            "COLUMNS": "120",
            "TERM": "dumb",
            "PYTHONPATH": str(repository),
            **broker.environment,
            "BROKER_CONFIG": "config/broker.yaml",
            "PATH": os.pathsep.join([str(shim.parent), str(python.parent), os.environ["PATH"]]),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    said = done.stdout.replace(str(site), FOLDER).replace(str(broker.data), f"{FOLDER}/data")
    said = said.replace(socket.gethostname(), HOST)
    said += "" if said.endswith("\n") or not said else "\n"
    return said + (f"[{done.returncode}]\n" if done.returncode else "")


def main(names: list[str]) -> None:
    for name in names:
        path = Path(name)
        before = path.read_text(encoding="utf-8")
        after = replayed(before)
        if masked(after) != masked(before):
            path.write_text(after, encoding="utf-8")
            print(f"wrote {name}")


if __name__ == "__main__":
    main(sys.argv[1:])
