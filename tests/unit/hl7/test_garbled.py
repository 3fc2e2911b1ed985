"""Text that was decoded wrongly before it came: what is flagged, what goes back, what is refused and where."""

from __future__ import annotations

import pytest

from broker.errors import Refused
from broker.hl7.charset import TWICE
from broker.hl7.er7 import Message
from broker.hl7.garbled import MOJIBAKE, REPAIRED, judged

TEXT = "MSH|^~\\&|PAS|STO|||2026||ADT^A08|1|P|2.5||||||{charset}\rPID|1||7||{name}^Siv\r"


def message(name: str, codec: str = "utf-8", charset: str = "UNICODE UTF-8") -> Message:
    return Message.parse(TEXT.format(name=name, charset=charset).encode(codec))


@pytest.mark.parametrize("name", ["Dahl", "Bjørn", "Čuđi"])
def test_text_that_is_well_stays(name: str) -> None:
    found = message(name)

    assert judged(found, "refuse") == (found, ())


def test_mojibake_is_flagged_and_left_as_it_is() -> None:
    found, flags = judged(message("BjÃ¸rn"), "flag")

    assert (found["PID-5.1"], flags) == ("BjÃ¸rn", (MOJIBAKE,))


@pytest.mark.parametrize("wrongly", ["latin-1", "cp1252"])
def test_a_message_that_goes_back_whole_is_repaired(wrongly: str) -> None:
    found, flags = judged(message("Bjørn Åse".encode().decode(wrongly)), "repair")

    assert (found["PID-5.1"], found.charset, flags) == ("Bjørn Åse", TWICE, (REPAIRED,))
    assert Message(found.raw, found.header, found.charset)["PID-5.1"] == "Bjørn Åse", "from the journal, too"


def test_a_message_that_was_declared_as_windows_1252_is_repaired() -> None:
    found, _ = judged(message("Bjørn", charset="WINDOWS1252"), "repair")

    assert found["PID-5.1"] == "Bjørn"


def test_a_part_alone_is_not_repaired() -> None:
    found, flags = judged(message("BjÃ¸rn Åse"), "repair")

    assert (found["PID-5.1"], flags) == ("BjÃ¸rn Åse", (MOJIBAKE,))


@pytest.mark.parametrize(
    ("name", "policy"), [("BjÃ¸rn", "refuse"), ("Bj\ufffdrn", "flag"), ("Bjï¿½rn", "repair")]
)
def test_what_is_refused_names_its_place_and_not_the_value(name: str, policy: str) -> None:
    with pytest.raises(Refused) as caught:
        judged(message(name), policy)  # type: ignore[arg-type]

    error = caught.value
    assert (error.ack_code, error.error_code, str(error.location)) == ("AE", "102", "PID-5")
    assert "rn" not in str(error).replace("returned", "")


def test_bytes_that_are_not_what_msh_18_says_are_refused_with_their_place() -> None:
    with pytest.raises(Refused, match="the first of them stand in PID-5"):
        message("Bjørn", "latin-1")


def test_text_is_read_as_nfc_escaped_text_too() -> None:
    found = message("A\u030ase\\XCC8A\\")

    assert found["PID-5.1"].startswith("Åse")
    assert message("A\\XCC8A\\se")["PID-5.1"] == "Åse"
