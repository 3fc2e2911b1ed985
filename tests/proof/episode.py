"""One episode: a fresh broker under load, a few rounds of harm, then quiet, and what is acknowledged is looked for.

Everything is judged from outside: by what the EPJ and the PACS received, by C-FIND, and by the answers to repeats.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.proof import check
from tests.proof.check import Findings
from tests.proof.faults import KINDS
from tests.proof.load import NO_ANSWER
from tests.proof.stage import Stage, set_up
from tests.support.broker import Broker
from tests.support.dcmtk import worklist_query
from tests.support.dimse import EXPLICIT, WORKLIST, Scu, decoded, encoded
from tests.support.flows import open_work, wait_until_routed

REPEATS: Final = 1000
"""Acknowledged messages that are sent once more at the end."""

STILL_SECONDS: Final = 10.0
"""So long nothing more must have left before the broker counts as stuck: every wait on the stage is far shorter."""


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
        self.findings.add(other.findings)


def play(
    folder: Path, name: str, kinds: Sequence[str], say: Callable[[str], None], settings: Mapping[str, str]
) -> Tally:
    """The rounds in this order, the broker with these settings. One that does not come back ends the episode."""
    tally = Tally()
    with set_up(folder, name, settings) as stage:
        try:
            for kind in kinds:
                say(kind)
                tally.findings.add(KINDS[kind](stage))
                tally.rounds[kind] = tally.rounds.get(kind, 0) + 1
            time.sleep(0.5)  # some load on the broker as it is left
            tally.findings.broken += stage.end_load()
            tally.findings.add(_idle(stage.broker))
            tally.findings.add(_arrived(stage))
            tally.findings.add(_known(stage))
            stage.broker.stop()
            tally.findings.broken += [f"a change of {p} went past the record" for p in stage.disk.absorb()]
        except (AssertionError, *NO_ANSWER) as error:
            tally.findings.broken.append(f"{type(error).__name__}: {error}")
        _count(stage, tally)
    return tally


def _arrived(stage: Stage) -> Findings:
    """Whether everything is at its destination, in order and once."""
    sent = [message for sender in stage.senders for message, _ in sender.acknowledged]
    found = check.hl7(sent, stage.epj.messages)
    stored = [uid for modality in stage.modalities for uid in modality.acknowledged]
    found.add(check.images(stored, stage.pacs.stored))
    found.add(check.worklist(sent, _accession_numbers(stage)))
    return found


def _known(stage: Stage) -> Findings:
    """Whether what was acknowledged is answered as it was, and does nothing a second time."""
    before = open_work(stage.broker), len(stage.epj.messages)
    pairs = [pair for sender in stage.senders for pair in sender.acknowledged]
    for pair in stage.dice.sample(pairs, min(REPEATS, len(pairs))):
        stage.repeater.ask(pair)
    # A repeat that were taken as new would now wait to be routed or to leave, or have left.
    wait_until_routed(stage.broker)
    after = open_work(stage.broker), len(stage.epj.messages)
    found = Findings(forgotten=[control_id.decode() for control_id in stage.repeater.wrong])
    if sum(after) > sum(before):
        found.doubled.append(f"{sum(after) - sum(before)} effects of repeats")
    return found


def _idle(broker: Broker) -> Findings:
    """Waits until nothing is left to be routed or to leave."""
    least, since = open_work(broker), time.monotonic()
    while least:
        time.sleep(0.1)
        now = open_work(broker)
        if now < least:
            least, since = now, time.monotonic()
        elif time.monotonic() > since + STILL_SECONDS:
            return Findings(broken=[f"{least} deliveries or events are stuck"])
    return Findings()


def _accession_numbers(stage: Stage) -> list[str]:
    """Of every row on the worklist, by C-FIND."""
    with Scu(stage.broker.dicom_port, [(WORKLIST, EXPLICIT)]) as scu:
        answers = scu.find(encoded(worklist_query()))
    return [str(decoded(answer).AccessionNumber) for answer in answers]


def _count(stage: Stage, tally: Tally) -> None:
    tally.kills = stage.kills
    tally.connections_harmed = sum(proxy.faults for proxy in stage.proxies)
    tally.messages_acknowledged = sum(len(sender.acknowledged) for sender in stage.senders)
    tally.images_acknowledged = sum(len(modality.acknowledged) for modality in stage.modalities)
    tally.refused = sum(sender.refused for sender in (*stage.senders, *stage.modalities))
    tally.repeats = stage.repeater.asked
