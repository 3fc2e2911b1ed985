"""Names and keys for properties: whatever a sender or a device may write, of letters that matching treats alike."""

from __future__ import annotations

from hypothesis import strategies as st

_LETTERS = "aåAÅeoøØöæÆéčČđĐŋŧžßdkns \u030a\u0301'-_•山田やーж"
_MARKS = "^="
_WILD = "*?"


def _texts(alphabet: str, size: int) -> st.SearchStrategy[str]:
    return st.text(st.sampled_from(alphabet), max_size=size)


NAMES = st.one_of(
    _texts(_LETTERS + _MARKS, 8),
    _texts("aåoøe^", 5),
    st.text(max_size=8),
    _texts(_LETTERS + _MARKS + _WILD, 6),
)
"""Of a person, as a row has it."""

KEYS = st.one_of(
    _texts(_LETTERS + _MARKS + _WILD, 8),
    _texts("aåoøe^*?", 5),
    st.text(max_size=8),
    st.tuples(_texts("aåoøeæAsn^", 4), _texts("^*?=a", 3)).map("".join),
)
"""Of a query."""


def _asked_for(name: str) -> st.SearchStrategy[tuple[str, str]]:
    """With keys that a part of the name makes: most of them match."""
    parts = st.tuples(
        st.sampled_from(name.split("=")), st.integers(0, 8), st.sampled_from(["", "*", "?*", "^*"])
    )
    return parts.map(lambda part: (part[0][: part[1]].swapcase() + part[2], name))


ASKED = st.one_of(st.tuples(KEYS, NAMES), NAMES.flatmap(_asked_for))
"""A key and a name."""
