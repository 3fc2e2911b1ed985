"""The trauma drill: two unknowns at once, one identified, one identified wrongly and corrected (domain: emergencies).

Both are examined before anybody knows who they are, without an order, by the visit that the trauma room shows. Pure.
"""

from __future__ import annotations

from datetime import date
from typing import Final

from broker.simulate.drills.script import ByHand, Drill, Number, Script, Split

ROOM: Final = "AKUTT^TRAUME1^^STO"
CT: Final = "CT2_STO"
XRAY: Final = "DX1_STO"


def drill(script: Script) -> Drill:
    """Writes the drill down."""
    wrong = script.person("Bakklandet^Jon", date(1979, 4, 2), "M")
    right = script.person("Sørby^Ánte", date(1981, 10, 30), "M")
    script.adt("A28", wrong, "a patient whom the hospital has known for years")
    script.adt("A28", right, "and another")

    one, two = script.unknown("Ukjent^Mann 3", "M"), script.unknown("Ukjent^Mann 4", "M")
    of_one, of_two = script.visit(), script.visit()
    emergency = {"PID-31": "Y", "PID-32": "UA", "PV1-2": "E"}
    found = {"PID-31": "N"}
    script.adt("A04", one, "the first unknown is in the trauma room", visit=of_one, ward=ROOM, more=emergency)
    script.adt("A04", two, "the second unknown too", visit=of_two, ward=ROOM, more=emergency)
    script.look(CT, "the trauma CT shows both, with different numbers", {of_one: one, of_two: two})

    first = script.exam(CT, "CT", one, visit=of_one)
    second = script.exam(CT, "CT", two, visit=of_two)
    script.examine(first, "the first unknown", 2)
    script.laboratory(one, "a blood sample of the first")
    script.begin(second, "the second unknown")
    script.store(second, "two images of the second", 1, 2, two)

    known = script.person("Nordgård^Bjørn", date(1983, 2, 14), "M")
    script.adt("A47", known, "the first is identified: the number changes", prior=Number(value=one.number))
    script.adt(
        "A08", known, "and has a name, and is no unknown any more", visit=of_one, ward=ROOM, more=found
    )
    script.ask(Number(value=one.number), "the temporary number leads to him", known)
    script.store(first, "a late image of the first, under the temporary number", 3, 3, known)

    script.adt("A40", wrong, "the second is taken for somebody else: merged", prior=Number(value=two.number))
    script.look(XRAY, "the X-ray shows the wrong name for him", {of_one: known, of_two: wrong})
    script.store(second, "an image under the temporary number: the wrong person's", 3, 3, wrong)
    booked = script.order(
        wrong, "what is booked for him now is the wrong person's too", modality="US", station="UL-LAB1"
    )

    script.steps.append(
        Split(
            title="split: plan, one person alone is refused, two people apply",
            number=Number(value=two.number),
            returns=frozenset((of_two,)),
            unsure=frozenset((booked.accession,)),
        )
    )
    script.steps.append(
        ByHand(title="by hand: the PACS moves the listed studies back", patient_id=two.number)
    )
    script.ask(Number(value=two.number), "the second is unknown again", two)
    script.look(XRAY, "and the X-ray shows him so", {of_one: known, of_two: two})
    script.store(second, "an image under the temporary number", 4, 4, two)
    script.adt(
        "A40", right, "the second is identified: merged into the right record", prior=Number(value=two.number)
    )
    script.adt("A08", right, "with his name", visit=of_two, ward=ROOM, more=found)
    script.store(second, "a last image under the temporary number", 5, 5, right)
    script.end(second, "the examination is completed")
    script.adt("A03", known, "the first goes home", visit=of_one, ward=ROOM)

    return script.whole(
        "trauma",
        (
            script.truth("the first unknown", known, first, once=(Number(value=one.number),)),
            script.truth("the second unknown", right, second, once=(Number(value=two.number),)),
            script.truth("who was taken for the second", wrong),
        ),
        {(XRAY, of_two): right, ("US1_STO", booked.accession): wrong},
    )
