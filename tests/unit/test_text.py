"""`broker.text`: what a person reads when a letter cannot be shown, and what a search must not depend on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.text import UNSHOWABLE, encodable, fold, transliterate


@pytest.mark.parametrize(
    ("text", "codec", "shown", "changed"),
    [
        ("Åse", "ascii", "Aase", 1),
        ("ÅS", "ascii", "AAS", 1),
        ("ÆRØ", "ascii", "AEROE", 2),
        ("Ærø", "ascii", "Aeroe", 2),
        ("Åse Ærø", "latin_1", "Åse Ærø", 0),
        ("Łukasz Čuđe", "latin_1", "Lukasz Cude", 3),
        ("Đorđe Žižek", "ascii", "Dorde Zizek", 4),
        ("Юлия Щукина", "latin_1", "Julija Sjtsjukina", 10),
        ("Γιώργος", "latin_1", "Giorgos", 7),
        ("“Kari” – O’Neil", "latin_1", '"Kari" - O\'Neil', 4),
        ("A\u030ase", "latin_1", "Åse", 0),
        ("山田", "latin_1", UNSHOWABLE * 2, 2),
    ],
)
def test_what_cannot_be_shown_is_written_as_its_reader_would(
    text: str, codec: str, shown: str, changed: int
) -> None:
    assert transliterate(text, codec) == (shown, changed)


@given(st.text(), st.sampled_from(["ascii", "latin_1", "iso8859_2", "utf_8", "iso_ir_144", "shift_jis"]))
def test_every_text_becomes_encodable_and_never_gains_a_question_mark(text: str, codec: str) -> None:
    shown, changed = transliterate(text, codec)
    if all(not 0xD800 <= ord(char) <= 0xDFFF for char in text) or codec != "utf_8":
        assert encodable(shown, codec)
    assert shown.count("?") <= text.count("?")
    assert changed or shown == text or not encodable(text, codec)


@pytest.mark.parametrize(
    ("one", "other"),
    [("ØSTBY", "ostby"), ("Åsen", "asen"), ("Müller", "MULLER"), ("Đurić", "duric"), ("Ærlig", "aerlig")],
)
def test_folded_texts_differ_neither_in_case_nor_accents(one: str, other: str) -> None:
    assert fold(one) == fold(other)


@given(st.text())
def test_folding_twice_changes_nothing_more(text: str) -> None:
    assert fold(fold(text)) == fold(text)
