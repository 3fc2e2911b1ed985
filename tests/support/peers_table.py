"""Our answers to the shared HL7 files beside what two parsers say of them: `python -m tests.support.peers_table`.

Reads `tests/golden/shared_hl7.tsv` (ours) and the shared `PEERS.tsv` (theirs), and prints Markdown for the docs. A
parser that reads a file does not answer it: the columns stand beside each other, they do not compete.
"""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.golden import FOLDER
from tests.support.shared import shared_folder

PEERS = ("python-hl7 0.4.5 raw", "hl7apy 1.3.5 tolerant", "hl7apy strict")
MEMBERS = " / "
"""Between the answers to the members of a batch."""
OURS = ("taken", "refused: content", "refused: rule", "not answered, by rule")
REASONS = {
    "AE 100": "a segment is missing (PID, MRG, PV1, ORC, OBR), several messages are in one frame, or a batch lost one",
    "AE 101": "PID-3 or MRG holds no identifier",
    "AE 102": "a value is no date, or longer than DICOM holds",
    "AE 103": "MSH-18 names no character set, or ORC-1 and ORC-5 no status of the table",
    "AE 201": "the trigger event is refused on purpose (A23, A29, A48, A51)",
    "AE 205": "the control id came before with other content: the files' makers share them",
    "AR 101": "MSH-10 is missing",
    "AR 200": "the message type is another listener's or nobody's",
    "AR 201": "the trigger event is not listed",
    "AR 203": "MSH-12 is no version from 2.1 to 2.8",
    "AR 207": "no MSH at all",
}


def summary() -> str:
    """Both tables: counts by folder, and the refusals by reason."""
    ours = {row["file"]: row["answer"] for row in _read(FOLDER / "shared_hl7.tsv")}
    peers = {row["path"]: row for row in _read(shared_folder() / "PEERS.tsv")}
    return "".join((*_by_folder(ours, peers), "\n", *_why(ours)))


def verdict(answer: str) -> str:
    """One of `OURS`; of a batch the worst of its members'."""
    if MEMBERS in answer:
        return max(map(verdict, answer.split(MEMBERS)), key=OURS.index)
    code = answer.split()[0]
    if code == "none":
        # Taken too, where it was no acknowledgement: such a sender asked not to be told.
        return OURS[3]
    return OURS[{"A": 0, "E": 1, "R": 2}[code[1]]] if answer != "CA AE" else OURS[1]


def _by_folder(ours: dict[str, str], peers: dict[str, dict[str, str]]) -> Iterator[str]:
    folders = sorted({Path(name).parent.name for name in ours})
    yield _row(["folder", "files", *OURS, *(f"{peer}: reads" for peer in PEERS)])
    yield _row(["---", *["---:"] * (1 + len(OURS) + len(PEERS))])
    for folder in [*folders, "all"]:
        names = [name for name in ours if folder in ("all", Path(name).parent.name)]
        counts = Counter(verdict(ours[name]) for name in names)
        counts.update(peer for name in names for peer in PEERS if peers.get(name, {}).get(peer) == "ok")
        yield _row([folder, len(names), *(counts[column] for column in (*OURS, *PEERS))])


def _why(ours: dict[str, str]) -> Iterator[str]:
    found: Counter[str] = Counter()
    for answer in (part for answers in ours.values() for part in answers.split(MEMBERS)):
        if verdict(answer).startswith("refused"):
            code, number = answer.split()[-3:-1]
            found[f"A{code[1]} {number}"] += 1
    yield _row(["answer", "messages", "why"])
    yield _row(["---", "---:", "---"])
    for reason, count in sorted(found.items()):
        yield _row([reason, count, REASONS[reason]])


def _row(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |\n"


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


if __name__ == "__main__":
    sys.stdout.write(summary())
