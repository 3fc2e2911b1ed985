"""HL7 outputs in the sets of their destination: the ladder, MSH-18, what is told where letters are replaced."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from broker import settings as settings_module
from broker.adapter import Rendered, Renderer, Target
from broker.event import Event
from broker.hl7.er7 import Message
from broker.runtime.encoding import renderer
from broker.view import View
from tests.support.events import event, local, patient

TEXT = "MSH|^~\\&|PAS|STO|||2026||ADT^A08|1|P|2.5||||||{charset}\rPID|1||7||{name}^Siv\r"
TARGET = Target(route="r", version="1", place="r:1", kind="hl7", destination="epj", send="source")


def render(tmp_path: Path, charsets: str) -> Renderer:
    path = tmp_path / "broker.yaml"
    path.write_text(
        "site: STO\ndicom: { port: 0 }\nhttp: { port: 0 }\ninbound: {}\n"
        f"outbound: {{ epj: {{ adapter: epj, host: h, port: 1, charsets: {charsets} }} }}\n"
    )
    (setting,) = settings_module.load(path, env={}).outbound
    return renderer(setting)


def view(name: str, codec: str = "utf-8", charset: str = "UNICODE UTF-8") -> View:
    raw = TEXT.format(name=name, charset=charset).encode(codec)
    made: Event = event("patient.updated", patient=patient(local("7")))
    return View(event=made, message=Message.parse(raw), patient=None, patient_key="7")


def sent(rendered: Rendered) -> tuple[str, str, bool]:
    message = Message.parse(rendered.payload)
    return message["MSH-18"], message["PID-5.1"], rendered.lossy


@pytest.mark.parametrize(
    ("charsets", "name", "expected"),
    [
        ("[8859/1, UNICODE UTF-8]", "Åse", ("8859/1", "Åse", False)),
        ("[8859/1, UNICODE UTF-8]", "Čuđi", ("UNICODE UTF-8", "Čuđi", False)),
        ("[8859/1, 8859/4]", "Čuđi Åse", ("8859/4", "Čuđi Åse", False)),
        ("[8859/1]", "Čuđi Åse", ("8859/1", "Cudi Åse", True)),
        ("[ASCII, 8859/1]", "Čuđi Åse", ("8859/1", "Cudi Åse", True)),
    ],
)
def test_the_first_set_that_shows_all_is_taken(
    tmp_path: Path, charsets: str, name: str, expected: tuple[str, str, bool]
) -> None:
    rendered = render(tmp_path, charsets)(view(name), TARGET)

    assert sent(rendered) == expected
    assert ("transliterated: PID" in rendered.summary) == expected[2]


def test_what_a_route_sets_is_not_lost_to_the_sender_s_set(tmp_path: Path) -> None:
    target = replace(TARGET, set={"PID-5.1": "Čuđi"})
    seen = view("Åse", "latin-1", "8859/1")

    assert sent(render(tmp_path, "[8859/1, UNICODE UTF-8]")(seen, target)) == ("UNICODE UTF-8", "Čuđi", False)
    stays = render(tmp_path, "[]")(seen, target)
    assert sent(stays) == ("8859/1", "Cudi", True)
    assert stays.summary.endswith("; transliterated: PID-5.1")


def test_without_sets_of_its_own_it_leaves_as_it_came(tmp_path: Path) -> None:
    seen = view("Åse", "latin-1", "8859/1")
    assert seen.message is not None

    assert render(tmp_path, "[]")(seen, TARGET).payload == seen.message.raw


def test_octets_of_an_escape_sequence_become_letters_of_the_new_set(tmp_path: Path) -> None:
    rendered = render(tmp_path, "[UNICODE UTF-8]")(view("\\XC5\\se\\X0D\\", "latin-1", "8859/1"), TARGET)

    assert "Åse\\X0D\\^Siv".encode() in rendered.payload


def test_a_repaired_message_leaves_repaired(tmp_path: Path) -> None:
    seen = view("BjÃ¸rn")
    assert seen.message is not None
    repaired = replace(seen, message=Message(seen.message.raw, seen.message.header, "utf_8_twice"))

    assert sent(render(tmp_path, "[]")(repaired, TARGET)) == ("UNICODE UTF-8", "Bjørn", False)
