"""Facts in, answers out: one for each step, or one for there being none. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from broker.why.chain import Link, chain
from broker.why.facts import Facts, StepFacts
from broker.why.rules import OF_ABSENCE, OF_STEP, SERVED, Case, Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Why one step is, or is not, on the list; or why there is none."""

    verdict: str
    served: bool
    accession: str
    step: str = ""
    because: str
    chain: tuple[Link, ...]
    keys: tuple[dict[str, Any], ...] = ()
    """Of a query that was typed: each key, what it asks for, and whether the row passes."""
    next: tuple[str, ...]

    def described(self) -> dict[str, Any]:
        """The stable shape of `--format json`."""
        return asdict(self)


def judge(facts: Facts) -> tuple[Answer, ...]:
    """One answer for each step, in their order; one where there is no step."""
    return tuple(_answer(facts, step) for step in facts.steps or (None,))


def _answer(facts: Facts, step: StepFacts | None) -> Answer:
    case = Case(facts, step)
    rule = next(rule for rule in (OF_ABSENCE if step is None else OF_STEP) if rule.fits(case))
    return Answer(
        verdict=rule.verdict,
        served=rule.verdict == SERVED,
        accession=facts.question.accession if step is None else step.accession,
        step="" if step is None else step.step,
        because=rule.because.format_map(case.words()),
        chain=tuple(chain(facts, step)),
        keys=tuple(dict(key) for key in step.tried.keys) if step is not None and step.tried else (),
        next=tuple(_next(case, rule)),
    )


def _next(case: Case, rule: Rule) -> Iterator[str]:
    if case.facts.near:
        yield f"the settings name no device {case.facts.question.ae}. {case.facts.near}"
    yield rule.next.format_map(case.words())
    if case.step is not None and case.last is not None and case.last.verdict == "rejected":
        yield f"the newest message on it was refused ({case.last.named}): the sender puts it right and sends it again"
