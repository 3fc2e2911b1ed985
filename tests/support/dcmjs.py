"""dcmjs-dimse stands for a modality: a DICOM client in JavaScript that shares no code with ours (tests/thirdparty)."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.needs import absent, needs
from tests.support.packages import THIRDPARTY

FOLDER = THIRDPARTY / "dcmjs-modality"

Request = Mapping[str, Any]
"""As modality.js takes it; the functions below make them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One response. `dataset` by keyword, as dcmjs reads it: sequences are lists, names have component groups."""

    status: int
    uid: str | None
    dataset: dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What one association came to."""

    accepted: bool
    rejected: tuple[int, int, int] | None
    """Result, source and reason of an A-ASSOCIATE-RJ."""
    answers: tuple[tuple[Answer, ...], ...]
    """Of each request, the pending ones first."""

    @property
    def statuses(self) -> list[int]:
        """The last status of each request."""
        return [answers[-1].status for answers in self.answers]


def echo() -> Request:
    return {"kind": "echo"}


def find(**keys: Any) -> Request:
    """A worklist query: dcmjs asks for some forty keys, `keys` narrow it."""
    return {"kind": "find", "keys": keys}


def store(file: Path) -> Request:
    return {"kind": "store", "file": str(file)}


def create(uid: str, dataset: Mapping[str, Any]) -> Request:
    """N-CREATE of an MPPS."""
    return {"kind": "create", "uid": uid, "dataset": dataset}


def set_(uid: str, dataset: Mapping[str, Any]) -> Request:
    """N-SET of an MPPS."""
    return {"kind": "set", "uid": uid, "dataset": dataset}


class Dcmjs:
    """A modality with one AE title; each `ask` is one association."""

    def __init__(self, port: int, calling: str, called: str = "BROKER") -> None:
        self._node = needs("node")
        if not (FOLDER / "node_modules" / "dcmjs-dimse").is_dir():
            absent("dcmjs-dimse is not installed; `make node` installs it")
        self._port, self._calling, self._called = port, calling, called

    def ask(self, *requests: Request, cancel_after: int = 0) -> Told:
        """Sends the requests one after the other. `cancel_after`: so many answers to a query, then a C-CANCEL."""
        order = {"port": self._port, "calling": self._calling, "called": self._called}
        order |= {"cancelAfter": cancel_after, "requests": requests}
        finished = subprocess.run(
            [self._node, "modality.js"],
            cwd=FOLDER,
            input=json.dumps(order),
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        assert finished.returncode == 0, finished.stderr
        # Its log goes to stdout too, before what modality.js says.
        told = json.loads(finished.stdout.splitlines()[-1])
        assert told["error"] is None, told["error"]
        return Told(
            accepted=told["accepted"],
            rejected=tuple(told["rejected"]) if told["rejected"] else None,
            answers=tuple(tuple(Answer(**answer) for answer in answers) for answers in told["answers"]),
        )
