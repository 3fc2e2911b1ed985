"""A house with studies in it: images and MPPS come, an archive takes them and answers, and time passes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from broker.adapter import Rendered
from broker.create.route import with_texts
from broker.event import Event, EventData, Study
from broker.journal import intake
from broker.registers import commitments, exceptions
from broker.runtime import rebuild
from broker.runtime.configured import Configured
from broker.runtime.decided import decided
from broker.runtime.offline import instance
from broker.runtime.studies import Studies
from broker.store.transaction import Transaction
from tests.support.mpps import MPPS

if TYPE_CHECKING:
    from tests.unit.runtime.conftest import House

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
CT = "1.2.840.10008.5.1.4.1.1.2"
STUDY = "2.25.7"
START = datetime(2026, 3, 9, 8, tzinfo=UTC)
ASKING = """\
route: asking
on: [study.stored]
where: study.archive == 'pacs'
to: [{ dicom: pacs-commitment }]
"""


def image(number: int, study: str = STUDY) -> bytes:
    return instance(
        {
            "SOPClassUID": CT,
            "SOPInstanceUID": f"2.25.9.{number}",
            "StudyInstanceUID": study,
            "SeriesInstanceUID": "2.25.8",
            "AccessionNumber": "A7",
            "PatientID": "30908299902",
        }
    )


def committing(configured: Configured, env: dict[str, str]) -> Configured:
    """The shipped settings with an archive that is asked to commit."""
    settings = configured.settings
    (pacs,) = [one for one in settings.outbound if one.name == "pacs"]
    asking = replace(
        pacs,
        name="pacs-commitment",
        config=SimpleNamespace(archive="pacs"),  # type: ignore[arg-type]
        spec=replace(pacs.spec, takes=("study",), render=lambda *_: Rendered(payload=b"{}")),
    )
    settings = replace(settings, outbound=(*settings.outbound, asking))
    return with_texts(settings, env, {"asking.yaml": ASKING})


class Ward:
    """A house with studies in it, and its clock."""

    def __init__(self, house: House, configured: Configured, spool: Path) -> None:
        self.house, self.now = house, START
        house.configured = configured
        house.with_(routes=configured.routes, renderers=configured.renderers)
        broker = configured.settings.broker.model_copy(update={"spool": str(spool)})
        self._settings = replace(configured.settings, broker=broker)
        self.spool = spool
        self.freed: list[int] = []
        self.studies = self.node()

    def node(
        self,
        archives: Sequence[str] | None = None,
        fence: Callable[[Transaction], None] = lambda _tx: None,
        **options: Any,
    ) -> Studies:
        """A node that has just begun to lead; `archives`: those that its settings have, else as the house's."""
        told = self._settings.broker.studies.model_copy(update=options)
        broker = self._settings.broker.model_copy(update={"studies": told})
        outbound = self._settings.outbound
        if archives is not None:
            (pacs,) = [one for one in outbound if one.name == "pacs"]
            outbound = tuple(replace(pacs, name=name) for name in archives)
        return Studies(
            self.house.database,
            lambda: self.house.configured,
            replace(self._settings, broker=broker, outbound=outbound),
            lambda: self.now,
            on_freed=self.freed.append,
            fence=fence,
        )

    def images(self, *numbers: int) -> None:
        for number in numbers:
            reception = self.house.receive("images", image(number))
            self.now = max(self.now, reception.received)
            file = self.spool / reception.blob
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"as it came")
            os.utime(file, (reception.received.timestamp(),) * 2)
        self.house.route()

    def mpps(self, attributes: dict[str, Any], uid: str = "2.25.5") -> None:
        head = {"SOPClassUID": MPPS, "SOPInstanceUID": uid}
        self.now = max(self.now, self.house.receive("performed", instance(head | attributes)).received)
        self.house.route()

    def round(self, after: timedelta = timedelta(), *, by: Studies | None = None) -> list[str]:
        """One round so much later; the types of the events that it made, which are routed then."""
        self.now += after
        (last,) = self.rows("SELECT coalesce(max(seq), 0) FROM event")[0]
        made = (by or self.studies).run()
        self.house.route()
        found = [kind for (kind,) in self.rows("SELECT type FROM event WHERE seq>? ORDER BY seq", last)]
        assert len(found) == made
        return found

    def stored(self, *numbers: int) -> None:
        """The archive has these, and was asked to commit."""
        self.images(*numbers)
        self.round(6 * MINUTE)
        self.arrive("pacs")
        assert self.round(SECOND) == ["study.stored"]
        self.arrive("pacs-commitment")

    def arrive(self, destination: str) -> None:
        """Everything for a destination is taken by it now."""
        at = self.now.isoformat()
        sql = "UPDATE delivery SET state='delivered', finished=? WHERE destination=? AND state='queued'"
        self.house.database.write(lambda tx: tx.execute(sql, (at, destination))).result()

    def answer(self, failures: Sequence[int] = (), *, only: int | None = None) -> None:
        """The archive answers its last request: of the instances, in order, the failures, the others committed."""
        tx = self.house.database.read()
        ((body,),) = tx.rows("SELECT body FROM event WHERE type='study.stored' ORDER BY seq DESC LIMIT 1")
        event = Event.model_validate_json(body)
        assert event.data.study is not None
        said = Study(
            transaction_uid=commitments.transaction_of(event),
            instances=tuple(
                one.model_copy(update={"failure": failures[n] if n < len(failures) else 0})
                for n, one in enumerate(event.data.study.instances[:only])
            ),
        )
        self.say("study.committed", said)

    def say(self, kind: Any, said: Study, source: str = "images") -> None:
        data = EventData(study=said)
        reception = decided(kind, data, source=source, site="STO", now=self.now, raw=b"{}", message_type=kind)
        self.house.database.write(lambda tx: intake.insert(tx, reception)).result()
        self.house.route()

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.house.database.read().rows(sql, values)

    def copies(self) -> list[tuple[str, str]]:
        return self.rows("SELECT archive, state FROM copy ORDER BY archive, sop_instance_uid")

    def files(self) -> int:
        return len(list(self.spool.glob("instances/*/*.dcm")))

    def last(self, kind: str) -> Study:
        ((body,),) = self.rows("SELECT body FROM event WHERE type=? ORDER BY seq DESC LIMIT 1", kind)
        found = Event.model_validate_json(body).data.study
        assert found is not None
        return found

    def told(self, kind: str) -> list[str]:
        """Reasons of open exceptions of a kind."""
        return [e.reason for e in exceptions.entries(self.house.database.read()) if e.kind == kind]

    def rebuilt(self) -> list[str]:
        database = self.house.database
        baseline = database.beside(rebuild.BASELINE)
        with (
            database.snapshot() as tx,
            rebuild.rebuilt(tx, baseline, self.house.configured, lambda _: None) as again,
        ):
            return rebuild.compare(tx, again, self.house.configured.routes.version)
