"""What a power cut may leave of one file: tests/integration/test_proof.py has the same of whole programs."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from tests.proof.disk import BLOCK, SECTOR, Change, Node

CHANGES = st.lists(
    st.integers(0, 3 * BLOCK)
    | st.tuples(st.integers(0, 2 * BLOCK), st.binary(min_size=1, max_size=64).map(lambda b: b * 40)),
    max_size=5,
)


def versions(safe: bytes, pending: list[Change]) -> list[bytes]:
    """The content after each number of changes, as a program would have seen it."""
    return [Node(safe=bytearray(safe), pending=pending[:n]).seen() for n in range(len(pending) + 1)]


@given(st.binary(max_size=2 * BLOCK), CHANGES, st.randoms(use_true_random=False))
def test_what_was_synced_is_all_there_and_nothing_else_when_no_block_made_it(
    safe: bytes, pending: list[Change], dice: random.Random
) -> None:
    assert Node(safe=bytearray(safe), pending=pending).after_cut(dice, 0.0) == safe
    synced = Node(safe=bytearray(safe), pending=list(pending))
    synced.sync()
    assert synced.after_cut(dice, 1.0) == versions(safe, pending)[-1]


@given(st.binary(max_size=2 * BLOCK), CHANGES, st.randoms(use_true_random=False))
def test_each_sector_is_one_that_was_there_at_some_time(
    safe: bytes, pending: list[Change], dice: random.Random
) -> None:
    content = Node(safe=bytearray(safe), pending=pending).after_cut(dice, 0.5)
    were = versions(safe, pending)
    assert len(content) in {len(version) for version in were}
    for at in range(0, len(content), SECTOR):
        sector = content[at : at + SECTOR]
        # A size that came without its bytes, or bytes beyond it, read as zeros.
        assert sector in {version[at : at + len(sector)].ljust(len(sector), b"\0") for version in were}


def test_a_block_that_made_it_may_be_torn_between_sectors() -> None:
    node = Node(safe=bytearray(BLOCK), pending=[(0, b"x" * BLOCK)])
    kinds = {len(set(node.after_cut(random.Random(seed), 1.0))) for seed in range(50)}
    assert kinds == {1, 2}
