"""One episode: a fresh broker under load, a few rounds of harm, then quiet, and what is acknowledged is looked for.

Everything is judged from outside: by what the EPJ and the PACS received, by C-FIND, and by the answers to repeats.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Final, TypeVar

from tests.proof import check
from tests.proof.check import Findings
from tests.proof.load import NO_ANSWER
from tests.proof.stage import KNOWN, Stage
from tests.support.dcmtk import worklist_query
from tests.support.dimse import EXPLICIT, WORKLIST, Scu, decoded, encoded
from tests.support.flows import open_work, wait_until_routed

REPEATS: Final = 1000
"""Acknowledged messages that are sent once more at the end."""

S = TypeVar("S", bound=Stage)


@dataclass(kw_only=True)
class Tally:
    """What was done, and what was found."""

    rounds: dict[str, int] = field(default_factory=dict)
    kills: int = 0
    connections_harmed: int = 0
    messages_acknowledged: int = 0
    images_acknowledged: int = 0
    refused: int = 0
    repeats: int = 0
    came_again: int = 0
    """Messages and objects that a destination got once more, with the same bytes: their acknowledgement was lost."""
    findings: Findings = field(default_factory=Findings)

    def add(self, other: Tally) -> None:
        for kind, count in other.rounds.items():
            self.rounds[kind] = self.rounds.get(kind, 0) + count
        self.kills += other.kills
        self.connections_harmed += other.connections_harmed
        self.messages_acknowledged += other.messages_acknowledged
        self.images_acknowledged += other.images_acknowledged
        self.refused += other.refused
        self.repeats += other.repeats
        self.came_again += other.came_again
        self.findings.add(other.findings)


def play(
    set_up: AbstractContextManager[S],
    rounds: Mapping[str, Callable[[S], Findings]],
    kinds: Sequence[str],
    say: Callable[[str], None],
) -> Tally:
    """The rounds in the order of `kinds`. A broker that does not come back ends the episode."""
    tally = Tally()
    with set_up as stage:
        try:
            for kind in kinds:
                say(kind)
                tally.findings.add(rounds[kind](stage))
                tally.rounds[kind] = tally.rounds.get(kind, 0) + 1
            time.sleep(0.5)  # some load on the broker as it is left
            tally.findings.broken += stage.end_load()
            tally.findings.add(_idle(stage, say))
            tally.findings.add(_arrived(stage))
            tally.findings.add(_known(stage))
            tally.findings.add(stage.shut_down())
        except (AssertionError, *NO_ANSWER) as error:
            tally.findings.broken.append(f"{type(error).__name__}: {error}")
        _count(stage, tally)
    return tally


def _arrived(stage: Stage) -> Findings:
    """Whether everything is at its destination, in order and once."""
    sent = [message for sender in stage.senders for message, _ in sender.acknowledged]
    found = check.hl7(sent, stage.epj.messages)
    stored = [uid for modality in stage.modalities for uid in modality.acknowledged]
    contents = {uid: content for m in stage.modalities for uid, content in m.contents.items()}
    found.add(check.images(stored, stage.pacs.stored))
    found.add(check.objects(contents, stage.pacs.objects, KNOWN))
    maybe = [message for sender in stage.senders for message in sender.unanswered]
    for host, port in stage.worklists():
        rows = _rows(host, port)
        found.add(check.worklist(sent, [accession for accession, _, _ in rows]))
        found.add(check.rows(sent, maybe, rows))
    return found


def _known(stage: Stage) -> Findings:
    """Whether what was acknowledged is answered as it was, and does nothing a second time."""
    before = open_work(stage.asked), len(stage.epj.messages)
    pairs = [pair for sender in stage.senders for pair in sender.acknowledged]
    for pair in stage.dice.sample(pairs, min(REPEATS, len(pairs))):
        stage.repeater.ask(pair)
    # A repeat that were taken as new would now wait to be routed or to leave, or have left.
    wait_until_routed(stage.asked)
    after = open_work(stage.asked), len(stage.epj.messages)
    found = Findings(forgotten=[control_id.decode() for control_id in stage.repeater.wrong])
    if sum(after) > sum(before):
        found.doubled.append(f"{sum(after) - sum(before)} effects of repeats")
    return found


def _idle(stage: Stage, say: Callable[[str], None]) -> Findings:
    """Waits until nothing is left to be routed or to leave."""
    least = told = open_work(stage.asked)
    since = time.monotonic()
    while least:
        time.sleep(0.1)
        now = open_work(stage.asked)
        if now < least:
            least, since = now, time.monotonic()
            if least < told * 0.5:
                say(f"{least} deliveries and events to go")
                told = least
        elif time.monotonic() > since + stage.still_seconds:
            return Findings(broken=[f"{least} deliveries or events are stuck"])
    return Findings()


def _rows(host: str, port: int) -> list[tuple[str, str, str]]:
    """(accession number, PatientID, PatientName) of every row on the worklist, by C-FIND."""
    with Scu(port, [(WORKLIST, EXPLICIT)], host=host) as scu:
        answers = [decoded(answer) for answer in scu.find(encoded(worklist_query()))]
    return [(str(row.AccessionNumber), str(row.PatientID), str(row.PatientName)) for row in answers]


def _count(stage: Stage, tally: Tally) -> None:
    tally.kills = stage.kills
    tally.connections_harmed = stage.connections_harmed
    tally.messages_acknowledged = sum(len(sender.acknowledged) for sender in stage.senders)
    tally.images_acknowledged = sum(len(modality.acknowledged) for modality in stage.modalities)
    tally.refused = sum(sender.refused for sender in (*stage.senders, *stage.modalities))
    tally.repeats = stage.repeater.asked
    for arrived in (stage.epj.messages, stage.pacs.objects):
        tally.came_again += len(arrived) - len(set(arrived))
