"""The worklist SCP without its socket: what it answers, and what it notes of each query."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from adapters.modality.inbound import MODALITY_WORKLIST, WorklistScp, WorklistService
from broker.adapter import InboundContext, WorklistQuery, WorklistRow
from broker.dicom.attributes import Attributes, to_dataset
from broker.dicom.uid import EXPLICIT_LITTLE_ENDIAN
from broker.net.service import Answer, FindRequest, Peer

NOW = datetime(2026, 3, 9, 8, tzinfo=UTC)
PEER = Peer(calling_aet="CT2_STO", called_aet="BROKER", host="127.0.0.1", port=104)


class Rows:
    """Three rows (`broker.adapter.WorklistReader`)."""

    def candidates(self, **_: Any) -> Iterator[WorklistRow]:
        for number in "112":
            yield WorklistRow(key=number, status="SCHEDULED", attributes={"AccessionNumber": f"A{number}"})


def find(keys: Attributes, noted: list[WorklistQuery]) -> Iterator[Answer]:
    context: Any = InboundContext(
        name="worklists",
        site="STO",
        bind="127.0.0.1",
        config_folder=Path(),
        spool=Path(),
        intake=None,  # type: ignore[arg-type]
        worklist=Rows(),
        clock=lambda: NOW,
        register_dicom=lambda _service: None,
        known_aets=frozenset(),
        count=lambda _name, _labels: None,
        note_query=noted.append,
    )
    request = FindRequest(
        sop_class=MODALITY_WORKLIST,
        identifier=to_dataset(keys),
        transfer_syntax_uid=EXPLICIT_LITTLE_ENDIAN,
        message_id=1,
        cancelled=lambda: False,
    )
    return WorklistScp(WorklistService(), context).find(request, PEER)


@pytest.mark.parametrize(("accession", "answers"), [("A1", 2), ("", 3), ("A9", 0)])
def test_a_query_is_noted_with_the_number_of_its_answers(accession: str, answers: int) -> None:
    noted: list[WorklistQuery] = []

    assert len(list(find({"AccessionNumber": accession}, noted))) == answers

    (query,) = noted
    assert (query.calling_aet, query.at, query.answers, query.whole) == ("CT2_STO", NOW, answers, True)
    assert query.query.attributes == {"AccessionNumber": accession}


def test_a_device_that_goes_is_noted_too() -> None:
    noted: list[WorklistQuery] = []
    answers = find({"AccessionNumber": ""}, noted)
    next(answers)
    next(answers)
    answers.close()  # type: ignore[attr-defined]

    assert [(query.answers, query.whole) for query in noted] == [(1, False)]
