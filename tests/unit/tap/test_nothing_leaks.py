"""Whatever stands wherever in a message, a tap shows it only with `--phi`: words are planted, and looked for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.adapter import Receipt
from broker.delivery import endings, stored
from broker.journal import intake
from broker.journal import log as journal
from broker.runtime.configured import Configured
from broker.runtime.pipeline import Pipeline
from broker.store.sqlite import in_memory
from broker.tap.choice import STREAMS
from broker.tap.follow import Follow
from broker.tap.show import Show

VALUE = "VERDI"
"""Stands in every planted word. Not planted is MSH-10, which is told everywhere as the message's number."""

NAMES = (
    "PID",
    "PV1",
    "NK1",
    "MRG",
    "ORC",
    "OBR",
    "OBX",
    "IPC",
    "ZDS",
    "TQ1",
    "AL1",
    "ZZZ",
    "XYZ",
    "NTE",
    "EVN",
)
TYPES = {
    "pas": ("ADT^A01", "ADT^A04", "ADT^A08", "ADT^A40", "ADT^A31"),
    "orders": ("ORM^O01", "OMG^O19", "OMI^O23"),
    "results": ("ORU^R01",),
}
FIELDS = ("MSH-9", "MSH-3", "PID-3", "PID-5.1", "PID-5(2).1.2", "OBX[2]-5", "PID-8", "ORC-1")

plain = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="|^~\\&"), max_size=6
)
words = plain.map(lambda tail: f"{VALUE}{tail}")
shapes = st.sampled_from(
    ["{}", "{}^{}", "{}&{}^x", "a^{}~b^{}", "^^^^{}", "{}\\T\\b", '{}^""', "x~{}", "12{}", "{}^^^STO^PI"]
)
planted = st.builds(lambda shape, word: shape.replace("{}", word), shapes, words)
usual = st.sampled_from(["", "1", "F", "SC", "NW", "CT", "700001^^^STO&2.999.7001&ISO^PI", "20260310093000"])


@st.composite
def messages(draw: st.DrawFn) -> tuple[str, bytes]:
    """(listener, message): proper enough to be taken at times, with words in any field, lines that broke, any ends."""
    source = draw(st.sampled_from(sorted(TYPES)))
    header = {
        3: "APP", 4: "STO", 5: "BROKER", 6: "STO", 7: "20260309080000", 9: draw(st.sampled_from(TYPES[source])),
        10: "C1", 11: "P", 12: "2.5.1", 18: "UNICODE UTF-8",
    }  # fmt: skip
    anywhere = st.sampled_from([3, 4, 5, 6, 7, 8, 11, 12, 13, 15, 18, 19, 21])
    for number in draw(st.sets(anywhere, max_size=2) | st.just({9})):
        header[number] = draw(planted)
    lines = ["MSH|^~\\&|" + "|".join(header.get(n, "") for n in range(3, 22))]
    pid = ["1", draw(planted), "700001^^^STO&2.999.7001&ISO^PI", "", draw(planted), "", "19821030", "F"]
    lines.append("PID|" + "|".join([*pid, *draw(st.lists(planted | usual, max_size=20))]))
    if source != "pas" and draw(st.booleans()):
        lines.append("ORC|NW|P1^EPJ|F1^RIS||SC||^^^20260310093000^^R")
        obr = [
            "1",
            "P1^EPJ",
            "F1^RIS",
            draw(planted),
            *[""] * 11,
            draw(planted),
            "",
            "A1",
            "RP1",
            "S1",
            "",
            "",
            "",
        ]
        lines.append("OBR|" + "|".join([*obr, "CT"]))
    for name in draw(st.lists(st.sampled_from(NAMES), max_size=5)):
        lines.append("|".join([name, *draw(st.lists(planted | usual, max_size=12))]))
    if draw(st.booleans()):
        lines.insert(draw(st.integers(1, len(lines))), draw(st.sampled_from(["{}", "{}|x", " {} ", "PI{}|"])))
        lines = [line.replace("{}", draw(words)) for line in lines]
    return source, (draw(st.sampled_from(["\r", "\r\n"])).join(lines) + "\r").encode()


def everything(configured: Configured, source: str, raw: bytes, show: Show) -> Iterator[str]:
    """Every line that a tap writes of a message that comes, is routed and delivered."""
    tx, now = in_memory(), datetime(2026, 3, 9, 8, tzinfo=UTC)
    follow = Follow(lambda: tx, STREAMS)
    follow.begin(0.0)
    intake.append(tx, configured.readers[source].receive(raw, message_id="M1", now=now))
    pipeline = Pipeline(configured.routes, configured.renderers)
    for logged in journal.unrouted(tx, 100):
        for queued in pipeline.route(tx, logged).queued:
            opened = stored.load(tx, queued.id)
            assert opened is not None
            endings.finish(tx, opened, Receipt(detail="MSA-1 AA"), now.isoformat())
    found, _ = follow.round(0.0)
    assert found[0].stream == "received"
    for item in found:
        yield from show.lines(item, follow.content(item, events=True, raw=True, payload=True))


@given(messages())
@settings(max_examples=80)
def test_no_value_is_shown(configured: Configured, message: tuple[str, bytes]) -> None:
    for as_json in (False, True):
        shown = "\n".join(everything(configured, *message, Show(raw=True, fields=FIELDS, as_json=as_json)))

        assert VALUE not in shown
        assert "700001" not in shown
        assert "19821030" not in shown


def test_what_is_looked_for_would_be_found(configured: Configured) -> None:
    """All three streams show values where they may: the test above can fail."""
    raw = (
        "MSH|^~\\&|APP|STO|BROKER|STO|20260309080000||ADT^A04|C1|P|2.5.1||||||UNICODE UTF-8\r"
        f"EVN||20260309080000\rPID|1||700001^^^STO&2.999.7001&ISO^PI||{VALUE}^Kari||19821030|F\rPV1|1|O\r"
    ).encode()
    shown = "\n".join(everything(configured, "pas", raw, Show(raw=True, fields=FIELDS, phi=True)))

    for line in (f"PID-5.1 = {VALUE}", f"patient.name.family = {VALUE}", f"||{VALUE}^Kari||19821030|F"):
        assert line in shown
    assert shown.count(f"||{VALUE}^Kari||19821030|F") == 2, "what came, and what left for the EPJ"


def test_nothing_can_steer_the_terminal(configured: Configured) -> None:
    raw = (
        "MSH|^~\\&|APP|STO|BROKER|STO|20260309080000||ADT^A04|C1|P|2.5.1||||||UNICODE UTF-8\r"
        "PID|1||700001^^^STO||\x1b[2J\u202eVERDI\r"
    ).encode()
    for phi in (False, True):
        shown = "\n".join(everything(configured, "pas", raw, Show(raw=True, fields=FIELDS, phi=phi)))

        assert shown.replace("\n", "").isprintable()
