"""Terminal sessions of the documentation, played again: what stands there is what the commands say.

A page with `console` blocks is a session: `$ ` begins a command, `> ` goes on with it, the rest is what it printed, and
`[2]` the exit code where it is not 0. The session runs from top to bottom in one shell, beside a running broker with
the shipped configuration in a folder of its own; ports that the page gives `broker run` are free ones here. The next
command is typed once all that came is routed. What may differ stands in `_VARYING`; everything else may not.

    python -m tests.support.recorded docs/new-device.md      # writes the page anew
"""

from __future__ import annotations

import os
import pwd
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.broker import Broker
from tests.support.configuration import changed
from tests.support.flows import wait_until_routed
from tests.support.ports import free_port
from tests.support.shared import REPOSITORY

FOLDER, HOST, WHO = "/srv/broker", "broker1", "kari"
"""What the page calls the folder, the machine, and who sits there."""

BLOCK = re.compile(r"(?<=^```console\n)(.*?)(?=^```$)", re.MULTILINE | re.DOTALL)
RESTART = "systemctl restart broker"
_END = "\x1d"
_OPENED = re.compile(r"(BROKER_\w+_PORT)=\d+ broker run\b")

_VARYING = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)"), "<time>"),
    (re.compile(r"\b\d\d:\d\d:\d\d\b"), "<time>"),
    (re.compile(r"\b[0-9a-f]{12}\b"), "<version>"),
    (re.compile(r"\b[0-9A-HJKMNP-TV-Z]{26}\b"), "<message>"),
    (re.compile(r"\b\d+\.\d+ s\b|(?<=\"seconds\": )\d+\.\d+"), "<duration>"),
    (re.compile(r"\b[\d,]+ a second"), "<speed>"),
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
        changed(site, {})
        # Where names are relative to the folder it is started in, as the pages have it.
        broker = Broker(folder, settings={"PYTHONPATH": str(REPOSITORY)} | ports, place=site)
        broker.start()
        shell = Shell(broker)
        try:
            return BLOCK.sub(lambda match: "".join(map(str, _played(match[1], broker, shell))), page)
        finally:
            shell.close()
            broker.kill()


def _played(block: str, broker: Broker, shell: Shell) -> Iterator[Step]:
    for step in steps(block):
        if step.command == RESTART:
            broker.stop()
            broker.start()
            yield Step(step.command, "")
        else:
            yield Step(step.command, shell.printed(step.command))
            wait_until_routed(broker)


class Shell:
    """A terminal in the site's folder. Variables, functions and what runs in the background stay until `close`."""

    def __init__(self, broker: Broker) -> None:
        python, site = Path(sys.executable), broker.place
        shim = site.parent / "bin" / "broker"
        shim.parent.mkdir()
        shim.write_text(f'#!/bin/sh\nexec "{python}" -m broker "$@"\n')
        shim.chmod(0o755)
        self._names = (
            (str(site), FOLDER),
            (str(broker.data), f"{FOLDER}/data"),
            (socket.gethostname(), HOST),
            (f"  {pwd.getpwuid(os.getuid()).pw_name}  ", f"  {WHO}  "),  # a column of its own
        )
        self._bash = subprocess.Popen(
            ["bash"],
            cwd=site,
            env={
                "HOME": str(site),
                "LANG": "C.UTF-8",
                "LOGNAME": WHO,
                "COLUMNS": "120",
                "TERM": "dumb",
                **broker.environment,
                "PATH": os.pathsep.join([str(shim.parent), str(python.parent), os.environ["PATH"]]),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            start_new_session=True,
        )

    def printed(self, command: str) -> str:
        """What the command wrote to either output, with its exit code; as the page names folder and machine."""
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        # In braces, so that no program reads the next command as its input.
        self._bash.stdin.write(f"{{ {command}\n}} </dev/null; printf '{_END}%d\\n' $?\n")
        self._bash.stdin.flush()
        said, code = "", ""
        while not code:
            line = self._bash.stdout.readline()
            assert line, f"the shell ended at: {command}"
            text, _, code = line.partition(_END)
            said += text
        for here, name in self._names:
            said = said.replace(here, name)
        said += "" if said.endswith("\n") or not said else "\n"
        return said + (f"[{int(code)}]\n" if int(code) else "")

    def close(self) -> None:
        """Ends it with all that it started."""
        os.killpg(self._bash.pid, signal.SIGKILL)
        self._bash.communicate()


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
