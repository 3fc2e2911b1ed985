"""The newborn drill: twins with two H-numbers from two hospitals, then their fødselsnummer (domain: newborns).

Mother and children are three patients from the first minute. Pure.
"""

from __future__ import annotations

from datetime import date
from typing import Final

from broker.hl7.edit import Value
from broker.simulate.drills.script import ELSEWHERE, Drill, Number, Script, identifier, numbers

WARD: Final = "NYF^3^1^STO"
MATERNITY: Final = "FOD^3^1^STO"
ULTRASOUND: Final = "US1_STO"
CT: Final = "CT1_STO"


def drill(script: Script) -> Drill:
    """Writes the drill down."""
    born = script.clock.date()
    mother = script.person("Hansen^Áile", date(1994, 6, 9), "F")
    script.adt("A01", mother, "the mother is admitted", visit=script.visit(), ward=MATERNITY)
    fetal = script.order(mother, "fetal ultrasound", modality="US", station="UL-LAB1")
    before = script.exam(ULTRASOUND, "US", mother, order=fetal)
    script.examine(before, "the mother, before the birth", 2)

    script.wait(hours=4)
    mothers = identifier(numbers(mother)[-1])
    girls = []
    for place, name in (("1", "Hansen^Jente 1"), ("2", "Hansen^Jente 2")):
        here = script.person(name, born, "F", number=script.people.temporary(born), national=False)
        twin: dict[str, Value] = {"PID-21": mothers, "PID-24": "Y", "PID-25": place}
        script.adt(
            "A01", here, f"twin {place} is born: an H-number", visit=script.visit(), ward=WARD, more=twin
        )
        girls.append((here, twin))
    (one, twin_one), (two, twin_two) = girls
    script.ask(Number(value=one.number), "twin 1 is a patient of her own", one)
    script.ask(Number(value=two.number), "and twin 2 another", two)
    head_one = script.order(one, "ultrasound of twin 1", modality="US", station="UL-LAB1")
    head_two = script.order(two, "ultrasound of twin 2", modality="US", station="UL-LAB1")
    script.look(ULTRASOUND, "both are listed", {head_one.accession: one, head_two.accession: two})
    exam_one = script.exam(ULTRASOUND, "US", one, order=head_one)
    exam_two = script.exam(ULTRASOUND, "US", two, order=head_two)
    script.examine(exam_one, "twin 1", 2)
    script.examine(exam_two, "twin 2", 2)

    other = script.person("Hansen^Jente 2", born, "F", number=script.people.temporary(born), national=False)
    script.adt(
        "A28",
        other,
        "twin 2 is moved: the other hospital gives its own H-number",
        issuer=ELSEWHERE,
        more=twin_two,
    )
    abroad = script.order(other, "a CT there", modality="CT", station="CT-LAB1", issuer=ELSEWHERE)
    exam_abroad = script.exam(CT, "CT", other, order=abroad)
    script.examine(exam_abroad, "twin 2 by the other hospital's number", 2)
    later = script.order(
        other, "and one that is booked", modality="CT", station="CT-LAB1", issuer=ELSEWHERE, days=3
    )

    script.wait(hours=12)
    named_one = script.person("Hansen^Márjá", born, "F")
    named_two = script.person("Hansen^Biret", born, "F")
    script.adt("A47", named_one, "twin 1 has a fødselsnummer", prior=Number(value=one.number))
    script.adt("A31", named_one, "and a name", more=twin_one)
    script.adt("A47", named_two, "twin 2 has one too", prior=Number(value=two.number))
    script.adt("A31", named_two, "and a name", more=twin_two)
    there = Number(value=other.number, issuer=ELSEWHERE)
    script.adt("A40", named_two, "the other hospital's H-number is hers: merged", prior=there)
    script.ask(there, "it leads to twin 2", named_two)
    script.store(exam_abroad, "a late image under the other hospital's H-number", 3, 3, named_two)
    script.store(exam_one, "a late image of twin 1 under her H-number", 3, 3, named_one)
    script.store(before, "a late one of the mother", 3, 3, mother)

    return script.whole(
        "newborn",
        (
            script.truth("the mother", mother, before),
            script.truth("twin 1", named_one, exam_one, once=(Number(value=one.number),)),
            script.truth("twin 2", named_two, exam_two, exam_abroad, once=(Number(value=two.number), there)),
        ),
        {(CT, later.accession): named_two},
    )
