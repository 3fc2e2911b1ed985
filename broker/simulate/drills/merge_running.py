"""A merge while an examination runs: begun under the old number, images and the end of it after the merge. Pure."""

from __future__ import annotations

from datetime import date

from broker.simulate.drills.script import Drill, Number, Script


def drill(script: Script) -> Drill:
    """Writes the drill down."""
    born = date(1968, 3, 21)
    survivor = script.person("Ødegård^Máhtte", born, "M")
    old = script.person("Odegard^Mahtte", born, "M", national=False)
    script.adt("A28", survivor, "the record that will survive")
    script.adt(
        "A04", old, "he is registered once more by mistake", visit=script.visit(), ward="POL^ROM1^^STO"
    )
    order = script.order(old, "a CT under the new number", modality="CT", station="CT-LAB1")
    booked = script.order(old, "another for tomorrow", modality="CT", station="CT-LAB1", days=1)
    script.look("CT1_STO", "both are listed", {order.accession: old, booked.accession: old})

    exam = script.exam("CT1_STO", "CT", old, order=order)
    script.begin(exam, "him")
    script.store(exam, "the first image", 1, 1, old, survivor)
    script.adt("A40", survivor, "merged, while he lies in the scanner", prior=Number(value=old.number))
    script.look("CT1_STO", "tomorrow's row is the survivor's", {booked.accession: survivor})
    script.store(exam, "images under the old number", 2, 4, survivor)
    script.end(exam, "completed, under the old number")
    script.store(exam, "an image behind the end", 5, 5, survivor)
    script.adt("A08", survivor, "PAS goes on with the survivor")
    script.ask(Number(value=old.number), "the old number leads to the survivor", survivor)

    return script.whole(
        "merge-running",
        (script.truth("the patient", survivor, exam, once=(Number(value=old.number),)),),
        {("CT1_STO", booked.accession): survivor},
    )
