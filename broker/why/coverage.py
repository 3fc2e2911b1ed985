"""What each device gets and gives, of all that the configuration knows: five ticks. Pure: nothing is read here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from broker.journal.devices import STORES, Safe, Sent
from broker.why.checkup import ACCEPTED


@dataclass(frozen=True, slots=True, kw_only=True)
class Covered:
    """Five ticks of one device."""

    ae: str
    demographics: bool
    """It was told of a patient: by its worklist, or because it asked."""
    worklist: bool
    """It was answered rows, or performed a step that it had from its list."""
    delivers: bool
    """Objects of it were accepted."""
    notifies: tuple[str, ...]
    """HL7 destinations that took a message which came of what it sent."""
    committed: Safe | None = None
    """None: no archive is asked to commit, or none has an object of it."""


def covered(
    devices: Sequence[str],
    sent: Sequence[Sent],
    reached: Mapping[str, tuple[str, ...]],
    told: frozenset[str],
    answered: frozenset[str],
    safe: Mapping[str, Safe],
) -> Iterator[Covered]:
    """Each device, those that sent something without being known behind the others. `answered`: AE titles whose
    worklist query was answered with rows, as far as the running broker remembers. `safe`: empty where no archive is
    asked to commit."""
    accepted = [one for one in sent if one.verdict == ACCEPTED]
    for ae in dict.fromkeys([*devices, *(one.aet for one in sent)]):
        mine = [one for one in accepted if one.aet == ae]
        worklist = ae in answered or any(one.scheduled for one in mine)
        yield Covered(
            ae=ae,
            demographics=worklist or ae in told,
            worklist=worklist,
            delivers=any(one.type in STORES for one in mine),
            notifies=reached.get(ae, ()),
            committed=safe.get(ae),
        )
