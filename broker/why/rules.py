"""The rules by which facts are judged, as tables: verdict, when it fits, why in words, what to do next. Pure.

Words in braces are `Case.words`. They name keys, places and numbers of messages; never a name or a birth date.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from broker.device import is_own
from broker.registers.steps import ENDED, OPEN
from broker.why.facts import Came, Device, Facts, StepFacts

SERVED: Final = "served"

NOTHING: Final = frozenset({"unknown-patient", "never-came"})
"""Verdicts that found nothing at all: the command ends with 1."""


@dataclass(frozen=True, slots=True)
class Case:
    """The facts, and the step that is judged; None: that there is none."""

    facts: Facts
    step: StepFacts | None = None

    @property
    def of_step(self) -> StepFacts:
        assert self.step is not None, "only the rules of steps ask"
        return self.step

    @property
    def off(self) -> bool:
        """No row of the step stands."""
        return not self.of_step.lists

    @property
    def last(self) -> Came | None:
        """The last message of the case: of a step any; without one an order, of an unknown patient any."""
        came = self.facts.came if self.step is None else self.step.came
        if self.step is None and (self.facts.patient != "unknown" or any(one.order for one in came)):
            came = tuple(one for one in came if one.order)
        return came[-1] if came else None

    @property
    def device(self) -> Device | None:
        """The query that counts: the one that was typed, else the device's last one."""
        step = self.of_step
        return step.tried or (step.asked[0] if step.asked else None)

    def any(self, fits: Callable[[Came], bool]) -> Came | None:
        """The newest message of the step that is so."""
        return next((one for one in reversed(self.of_step.came) if fits(one)), None)

    def excluded(self, *, typed: bool) -> bool:
        return (
            (self.of_step.tried is not None) is typed
            and self.device is not None
            and bool(self.device.excluding)
        )

    def is_last(self, verdict: str) -> bool:
        return self.last is not None and self.last.verdict == verdict

    def words(self) -> Mapping[str, str]:
        """What a rule's sentences may name."""
        question, last = self.facts.question, self.last
        words = {
            "ae": question.ae,
            "accession": question.accession,
            "issuer": question.issuer,
            "issuers": ", ".join(self.facts.issuers),
            "first_issuer": self.facts.issuers[0] if self.facts.issuers else "",
            "order": f"order {question.accession}" if question.accession else "order",
            "last": _told(last),
            "trace": last.named if last else "",
            "answer": last.answer if last else "",
            "reason": last.reason if last else "",
            "set_aside": "; ".join(last.set_aside) if last else "",
            "again": last.id if last else "",
        }
        return {**words, **self._words_of_step()} if self.step is not None else words

    def _words_of_step(self) -> Mapping[str, str]:
        step = self.of_step
        again = self.any(lambda one: one.failed) or self.any(lambda one: one.order and bool(one.events))
        refusals = "; ".join(
            f"{said.route} ({said.place}): {said.reason}" for said in step.said if said.worklist
        )
        taken = step.changed_by or self.any(lambda one: one.verdict == "accepted")
        return {
            "status": step.status,
            "clinic": step.clinic,
            "adopted_by": step.adopted_by,
            "ended_by": _told(taken) or "an earlier message",
            "ended": taken.named if taken else step.accession,
            "routes": refusals or "there is no route with a worklist",
            "unmappable": step.unmappable,
            "lacking": "; ".join(step.lacking),
            "stations": ", ".join(step.stations),
            "keys": keys(self.device),
            "again": again.id if again else "ID",
        }


def _told(came: Came | None) -> str:
    return f"{came.type} {came.named} to {came.source} at {came.at}" if came else ""


def keys(device: Device | None) -> str:
    """The keys of a query that exclude the row, each with what it asks for."""
    parts = device.excluding if device is not None else ()
    return ", ".join(f"{short(key['key'])} ({key['wanted']})" for key in parts)


def short(path: str) -> str:
    """The keyword at the end of a key's path."""
    return path.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class Rule:
    """One verdict."""

    verdict: str
    fits: Callable[[Case], bool]
    because: str
    next: str


NOT_ADMITTED: Final = Rule(
    "not-admitted",
    lambda case: not case.facts.admitted,
    "{ae} is not among dicom.peers, and unknown AE titles are refused: it gets no list at all",
    "add {ae} to dicom.peers in the settings, or ask for the title that the device has",
)
WAITING: Final = (
    "`broker status` shows how many events wait; where their number stands still, look at the log"
)
AGAIN: Final = "`broker replay {again} --mode received --reason …`"

OF_STEP: Final[tuple[Rule, ...]] = (
    NOT_ADMITTED,
    Rule(
        "adopted",
        lambda case: bool(case.of_step.adopted_by),
        "an order of the same visit took over: {adopted_by}",
        "look at the order's row: `broker why mwl --accession {adopted_by}`; it says which study is whose",
    ),
    Rule(
        "left",
        lambda case: bool(case.of_step.clinic) and case.of_step.status == "CANCELED",
        "the visit is not at {clinic} any more: {ended_by}",
        "if the patient is there, PAS says so (A02, A10, A13); `broker trace {ended}` shows the message",
    ),
    Rule(
        "ended",
        lambda case: case.of_step.status in ENDED,
        "the step is {status} since {ended_by}: devices see it only while it is SCHEDULED or ARRIVED",
        "if it is to be done after all, RIS sends it again as scheduled; `broker trace {ended}` shows who ended it",
    ),
    Rule(
        "started",
        lambda case: case.of_step.status not in OPEN,
        "the step is {status} since {ended_by}: a device has it in hand, so it has left the lists",
        "if nobody has it in hand, RIS corrects its status; `broker trace {ended}` shows who started it",
    ),
    Rule(
        "failed",
        lambda case: case.off and case.any(lambda one: one.failed) is not None,
        "an event of the step could not be routed, so no row was made of it",
        f"the log names the place (`event-failed`); once that is put right, {AGAIN}",
    ),
    Rule(
        "waiting",
        lambda case: case.off and case.any(lambda one: one.waiting) is not None,
        "its message is in the journal and answered, but no route has seen it yet",
        WAITING,
    ),
    Rule(
        "no-route",
        lambda case: not any(said.matched and said.worklist for said in case.of_step.said),
        "no route puts it on a worklist: {routes}",
        "change the condition at that line, or the order; `broker check` reads the routes",
    ),
    Rule(
        "unmappable",
        lambda case: case.off and bool(case.of_step.unmappable),
        "no row can be made of it: {unmappable}",
        f"the sender corrects that value and sends the order again, or the route sets another; then {AGAIN}",
    ),
    Rule(
        "held",
        lambda case: bool(case.of_step.lacking),
        "{lacking}",
        f"the sender completes the order and sends it again; or a table gets the code that it lacks, then {AGAIN}",
    ),
    Rule(
        "not-made",
        lambda case: case.off,
        "today's routes would make a row of it, but none stands: it was routed by earlier ones",
        f"take the order in again: {AGAIN}",
    ),
    Rule(
        "other-station",
        lambda case: not is_own(case.of_step.stations, case.facts.own or (case.facts.question.ae,)),
        "the row is for {stations}, not for {ae}",
        "if {ae} shall have it, the order names it, or the row of the station table does (see `value`)",
    ),
    Rule(
        "query-excludes",
        lambda case: case.excluded(typed=True),
        "the row is served, but this query excludes it by {keys}",
        "ask with another value for that key, or leave it empty",
    ),
    Rule(
        "device-excludes",
        lambda case: case.excluded(typed=False),
        "the row is served, but the device's last query excludes it by {keys}",
        "change the filter on the device {ae} (date, modality, patient) and refresh its list",
    ),
    Rule(
        SERVED,
        lambda _case: True,
        "the row is served to {ae}",
        "refresh the list on the device {ae}; where the row is still not there, ask this again: its query is shown",
    ),
)
"""Of a step the first that fits is the verdict; the last fits always."""

OF_ABSENCE: Final[tuple[Rule, ...]] = (
    NOT_ADMITTED,
    Rule(
        "refused",
        lambda case: case.is_last("rejected"),
        "the message was refused: {last}, answered {answer}: {reason}",
        "the sender puts that field right and sends it again",
    ),
    Rule(
        "filtered",
        lambda case: case.is_last("filtered"),
        "the message was taken and nothing made of it: {last}: {reason}",
        "if something should be made of it, see `ignore` in the settings, and the table of order statuses",
    ),
    Rule(
        "waiting",
        lambda case: case.last is not None and case.last.waiting,
        "the message is in the journal and answered, but no route has seen it yet: {last}",
        WAITING,
    ),
    Rule(
        "failed",
        lambda case: case.last is not None and case.last.failed,
        "an event of the message could not be routed: {last}",
        f"the log names the place (`event-failed`); once that is put right, {AGAIN}",
    ),
    Rule(
        "set-aside",
        lambda case: case.last is not None and bool(case.last.set_aside),
        "a register did not apply the message: {last}: {set_aside}",
        "a person decides which is right (`broker status` lists it), and the sender corrects the other",
    ),
    Rule(
        "other-patient",
        lambda case: case.facts.elsewhere,
        "order {accession} is known, but it is another patient's",
        "compare the patient's number with the order in RIS; a merge may be missing",
    ),
    Rule(
        "no-step",
        lambda case: case.facts.patient != "unknown" and case.last is not None,
        "an order came, but no step of it is known under this number: {last}",
        "`broker trace {trace}` shows every hop",
    ),
    Rule(
        "other-issuer",
        lambda case: case.facts.patient == "unknown" and bool(case.facts.issuers),
        "no patient has this number under issuer {issuer}; it is known under {issuers}",
        "ask with --issuer {first_issuer}, or without --issuer",
    ),
    Rule(
        "unknown-patient",
        lambda case: case.facts.patient == "unknown",
        "neither PAS nor an order has named a patient with this number",
        "look at the number; if it is right, PAS and RIS have sent nothing yet: `broker status` shows what came",
    ),
    Rule(
        "never-came",
        lambda _case: True,
        "the patient is known, but no {order} came for this number",
        "look in RIS whether it was sent and acknowledged; `broker status` shows what came from whom",
    ),
)
"""Where there is no step, in the same way."""
