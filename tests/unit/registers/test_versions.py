from __future__ import annotations

import json
from dataclasses import asdict

from hypothesis import given
from hypothesis import strategies as st

from broker.registers import versions
from broker.registers.versions import VALUES, Origin

origins = st.builds(
    Origin,
    source=st.sampled_from(("pas", "orders")),
    at=st.just("2026-03-09T08:00:00+00:00"),
    said=st.text(max_size=3),
    event=st.sampled_from(("M1.0", "M2.0")),
    value=st.text(max_size=3),
    issuer=st.text(max_size=3),
)


@given(st.dictionaries(st.sampled_from(VALUES), origins), st.data())
def test_origins_are_read_as_they_were_written(told: dict[str, Origin], data: st.DataObject) -> None:
    """Those that several values share, too: each is written once and read once."""
    if told:
        shared = data.draw(st.sampled_from(sorted(told.values(), key=repr)))
        told |= dict.fromkeys(data.draw(st.lists(st.sampled_from(VALUES))), shared)
    text = versions.written(told)

    assert text == json.dumps({name: asdict(told[name]) for name in sorted(told)}, ensure_ascii=False)
    assert versions.read(text) == told
