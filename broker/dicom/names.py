"""Person names as C-FIND matches them: no case, no accents, by component or as one text (PS3.5 6.2.1).

Not fuzzy: nothing is matched by its sound. For who keeps an index: what is to stand in it, and where in it to look.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from typing import Final

from broker.dicom import wildcard
from broker.text import UNSHOWABLE, fold, transliterate

LONGEST: Final = 64
"""Characters of a reading, or of a beginning: that tells people apart, and fits into any index."""


def name_test(wanted: str) -> Callable[[str], bool]:
    """A person name: no case, no accents; by component, missing ones universal; or as one text.

    `HAN*` and `HANSEN` both find Hansen^Kari, `*KARI*` finds her too. A device that was shown `AASEN` for
    Åsen asks for `AASEN`, so the row's name is tried as it is shown without Norwegian letters as well. One
    component group in the key may match any group of the value; several match theirs (PS3.5 6.2.1).
    """
    groups = [_group_test(group) for group in wanted.split("=")]
    universal = [not group.strip("*^ ") for group in wanted.split("=")]

    def test(value: str) -> bool:
        candidates = value.split("=")
        if len(groups) == 1:
            return any(groups[0](candidate) for candidate in candidates)
        candidates += [""] * (len(groups) - len(candidates))
        return all(u or g(c) for g, u, c in zip(groups, universal, candidates, strict=False))

    return test


def readings(value: str) -> frozenset[str]:
    """What `name_test` reads of a value: each group in each form, without blanks around its components.

    >>> sorted(readings("Åsen ^Kari"))
    ['aasen^kari', 'asen^kari']
    """
    forms = (form(group) for group in value.split("=") for form in _FORMS)
    return frozenset("^".join(_parts(form))[:LONGEST] for form in forms)


def beginnings(wanted: str) -> tuple[str, ...]:
    """With one of these begins a reading of every value that passes `name_test`; none: any value may pass.

    >>> beginnings("ÅS*^Kari"), beginnings("*SEN"), beginnings("Han?en=山田")
    (('aas', 'as'), (), ('han',))
    """
    for group in wanted.split("="):
        found = {_beginning(form) for form in (fold(group), *(_as_shown(group, form) for form in _FORMS))}
        if "" not in found:
            return tuple(sorted(found))
    return ()


def _beginning(folded: str) -> str:
    """Up to the first wildcard, or the first component that may be anything."""
    known = "^".join(takewhile(bool, _parts(folded.strip())))
    return wildcard.before(known).rstrip("^")[:LONGEST]


def _group_test(wanted: str) -> Callable[[str], bool]:
    matches = _folded_test(fold(wanted))
    # The key may hold what the device was shown in its own set, some letters replaced and some not.
    forms = [(_folded_test(_as_shown(wanted, form)), form) for form in _FORMS[1:]]

    def test(value: str) -> bool:
        if matches(fold(value)):
            return True
        return not value.isascii() and any(alike(shown(value)) for alike, shown in forms)

    return test


def _folded_test(folded: str) -> Callable[[str], bool]:
    """By component, or as one text; both sides in the same folded form."""
    folded = folded.strip().rstrip("^")
    whole = wildcard.compiled(folded)
    components = [wildcard.compiled(part.strip()) if part.strip() else None for part in folded.split("^")]

    def matches(value: str) -> bool:
        parts = _parts(value)
        parts += [""] * (len(components) - len(parts))
        by_component = all(c is None or c.fullmatch(part) for c, part in zip(components, parts, strict=False))
        return by_component or whole.fullmatch("^".join(parts).rstrip("^")) is not None

    return matches


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split("^")]


def _as_shown(wanted: str, form: Callable[[str], str]) -> str:
    """The key in a form of the value; one that has letters which no form has is only itself."""
    shown = form(wanted)
    return shown if shown.count(UNSHOWABLE) == wanted.count(UNSHOWABLE) else fold(wanted)


def _in_ascii(text: str) -> str:
    """As it is shown where there are no letters beyond ASCII, then without case: Åsen is aasen."""
    return fold(transliterate(text, "ascii")[0])


def _without_accents(text: str) -> str:
    """As a set shows it that has the Nordic letters and not the others: Øβ is øv, and without accents ov."""
    return transliterate(fold(text), "ascii")[0]


_FORMS: Final[tuple[Callable[[str], str], ...]] = (fold, _in_ascii, _without_accents)
"""In which a value is read, as it is first."""
