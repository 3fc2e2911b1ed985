"""A wrong merge, found and split after a week in which both went on being patients: two persons in the end. Pure."""

from __future__ import annotations

from datetime import date

from broker.simulate.drills.script import ByHand, Drill, Number, Script, Split


def drill(script: Script) -> Drill:
    """Writes the drill down. The week is that of the messages: EVN-6 and MSH-7."""
    born = date(1955, 12, 3)
    one = script.person("Lund^Ola", born, "M")
    other = script.person("Lund^Ole", born, "M", national=False)
    script.adt("A28", one, "one of two brothers")
    script.adt("A28", other, "the other")
    before_one = script.order(one, "a CT of the first", modality="CT", station="CT-LAB1")
    before_other = script.order(other, "a CT of the other", modality="CT", station="CT-LAB1")
    exam_one = script.exam("CT1_STO", "CT", one, order=before_one)
    exam_other = script.exam("CT1_STO", "CT", other, order=before_other)
    script.examine(exam_one, "the first", 2)
    script.examine(exam_other, "the other", 2)
    script.adt("A40", one, "taken for one person: merged", prior=Number(value=other.number))
    script.ask(Number(value=other.number), "the other's number leads to the first", one)

    script.wait(days=3)
    script.adt("A08", one, "the first moves")
    mine = script.order(
        one, "an ultrasound under the first's number", modality="US", station="UL-LAB1", days=2
    )
    theirs = script.order(
        other, "RIS still uses the other's number: a CT", modality="CT", station="CT-LAB1", days=1
    )
    script.look("CT1_STO", "it is listed as the first's", {theirs.accession: one})
    script.store(exam_other, "a late image of the other: the first's", 3, 3, one)
    script.laboratory(other, "a blood sample under the other's number")

    script.wait(days=4)
    script.steps.append(
        Split(
            title="split: plan, one person alone is refused, two people apply",
            number=Number(value=other.number),
            returns=frozenset((before_other.accession, theirs.accession)),
            unsure=frozenset((mine.accession,)),
        )
    )
    script.steps.append(
        ByHand(title="by hand: the PACS moves the listed studies back", patient_id=other.number)
    )
    script.look("CT1_STO", "the CT is the other's again", {theirs.accession: other})
    script.look("US1_STO", "the ultrasound stays the first's", {mine.accession: one})
    script.adt("A31", one, "PAS says who the first is")
    script.adt("A31", other, "and who the other is")
    exam_theirs = script.exam("CT1_STO", "CT", other, order=theirs)
    script.examine(exam_theirs, "the other", 1)
    script.store(exam_one, "a late image of the first", 3, 3, one)

    return script.whole(
        "wrong-merge",
        (
            script.truth("the first", one, exam_one),
            script.truth("the other", other, exam_other, exam_theirs),
        ),
        {("US1_STO", mine.accession): one},
    )
