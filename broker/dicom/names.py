"""Person names as C-FIND matches them: no case, no accents, by component or as one text (PS3.5 6.2.1).

Not fuzzy: nothing is matched by its sound.
"""

from __future__ import annotations

from collections.abc import Callable

from broker.dicom import wildcard
from broker.text import UNSHOWABLE, fold, transliterate


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


def _group_test(wanted: str) -> Callable[[str], bool]:
    matches = _folded_test(fold(wanted))
    # The key may hold what the device was shown in its own set, some letters replaced and some not.
    forms = [(_folded_test(_as_shown(wanted, form)), form) for form in (_in_ascii, _without_accents)]

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
        parts = [part.strip() for part in value.split("^")]
        parts += [""] * (len(components) - len(parts))
        by_component = all(c is None or c.fullmatch(part) for c, part in zip(components, parts, strict=False))
        return by_component or whole.fullmatch("^".join(parts).rstrip("^")) is not None

    return matches


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
