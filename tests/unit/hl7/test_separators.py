from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.hl7.edit import escape
from broker.hl7.separators import Separators, read_separators, unescape


@pytest.mark.parametrize(
    ("field", "encoding", "expected"),
    [
        ("|", "^~\\&", "|^~\\&"),
        ("|", "^~\\&#", "|^~\\&#"),
        ("|", "^~\\$", "|^~\\$"),
        ("|", "^~*&", "|^~*&"),
        ("#", "!@%*", "#!@%*"),
        ("@", "~&#\\", "@~&#\\"),
        ("^", "~|\\&", "^~|\\&"),
        ("|", "^~\\&amp;", "|^~\\&"),
        ("|", "^~\\\\&", "|^~\\&"),
        ("|", "", "|^~\\&"),
    ],
)
def test_separators(field: str, encoding: str, expected: str) -> None:
    assert "".join(read_separators(field, encoding).all) == expected
    assert read_separators(field, encoding).encoding_characters == encoding


@pytest.mark.parametrize(
    ("encoding", "repetition", "escape_", "subcomponent"),
    [
        ("^~&", "~", "", "&"),
        ("^&", "~", "", "&"),
        ("^~", "~", "", "&"),
        ("^", "~", "", "&"),
        ("^~\\", "~", "\\", "&"),
    ],
)
def test_a_short_msh_2(encoding: str, repetition: str, escape_: str, subcomponent: str) -> None:
    found = read_separators("|", encoding)

    assert (found.repetition, found.escape, found.subcomponent) == (repetition, escape_, subcomponent)


def test_one_sign_has_one_role() -> None:
    found = read_separators("|", "^^\\&")

    assert (found.component, found.repetition) == ("^", "")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("a\\F\\b\\S\\c\\T\\d\\R\\e\\E\\f", "a|b^c&d~e\\f"),
        ("\\P\\", "#"),
        ("\\E\\T\\E\\", "\\T\\"),
        ("\\E\\\\T\\\\E\\", "\\&\\"),
        ("one\\.br\\two\\.sp2\\three\\.sp+1\\", "one\ntwo\n\nthree\n"),
        ("\\H\\bold\\N\\", "bold"),
        ("\\X0D0A\\", "\r\n"),
        ("\\X0D\\\\X0A\\", "\r\n"),
        ("\\XC3B8\\", "ø"),
        ("\\XC3\\\\XB8\\", "ø"),
        ("\\XFF\\", "\\XFF\\"),
        ("\\X0\\", "\\X0\\"),
        ("**BSV 4\\5 re.", "**BSV 4\\5 re."),
        ("\\Zlocal\\ \\C2842\\ \\", "\\Zlocal\\ \\C2842\\ \\"),
        ("C:\\ \\F\\", "C:\\ |"),
    ],
)
def test_escapes_are_resolved_once_and_the_rest_stays(written: str, meant: str) -> None:
    assert unescape(written, Separators(), "utf-8") == meant


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_what_is_escaped_reads_back(text: str) -> None:
    """But for CR LF: one line end in HL7."""
    assert unescape(escape(text), Separators()) == text.replace("\r\n", "\n")
    assert not set(escape(text)) & set("|^~&\r\n\x0b\x1c")
