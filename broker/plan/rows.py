"""Worklist rows as both route sets would make them now, of every step that modalities can see. Writes none.

What stands on the lists is not looked at: a row may be of an earlier set, until its step or patient changes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from broker.plan.outputs import Pair
from broker.plan.shadow import Progress
from broker.plan.shapes import words
from broker.plan.tally import Tally
from broker.registers import steps
from broker.runtime.lookback import seen_again
from broker.store.transaction import Transaction
from broker.view import View

BATCH: Final = 500


def remade(journal: Transaction, pair: Pair, progress: Progress = lambda _what, _done: None) -> Tally:
    """The rows of all open steps by both sets, over the registers as they stand now."""
    tally = Tally(words=words(pair.live, pair.proposed))
    for done, view in enumerate(_open_steps(journal), 1):
        tally.add(view.event.message_id, pair.compare(view, only="worklist"))
        if done % BATCH == 0:
            progress("rows compared", done)
    return tally


def _open_steps(journal: Transaction) -> Iterable[View]:
    last = ""
    while part := steps.open_behind(journal, last, BATCH):
        for last, event in part:
            held = steps.get(journal, last)
            if held is not None:
                yield seen_again(journal, journal, held, event)
