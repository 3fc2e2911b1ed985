"""Which acts of a day have which fault: chosen by seed, each act at most one, so that a run can be repeated. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from random import Random
from typing import TypeVar

from broker.simulate import messages
from broker.simulate.faults import FAULTS, Behaviour, at
from broker.simulate.story import Act

T = TypeVar("T")


def inflict(
    acts: list[Act], names: Sequence[str], dice: Random, marks: str
) -> tuple[list[Act], dict[str, tuple[Behaviour, ...]], dict[str, int]]:
    """Gives each fault its victims, each victim one fault.

    Returns the acts, what the EPJ does with which key, and how often the PACS refuses which instance. `marks` begins
    the control ids of messages that are made for a fault.
    """
    if "pipelined" in names:
        acts = list(_paired(acts, dice))
    free = [n for n, act in enumerate(acts) if act.said and not act.fault]
    dice.shuffle(free)
    every = len(free)
    for name in at("feed", names):
        if name == "pipelined":
            continue
        # The listener that most senders share is the one that is crowded.
        victims = (n for n in tuple(free) if name != "many-connections" or acts[n].part == "pas")
        for victim in _some(victims, name, every):
            free.remove(victim)
            said = acts[victim].said
            if name == "lying-charset":
                said = (messages.lying(said[0], f"{marks}X{victim:06}"), *said)
            acts[victim] = replace(acts[victim], said=said, fault=name)
    keys = [key for n in free for said in acts[n].said for key in said.epj if key.startswith("control")]
    epj: dict[str, tuple[Behaviour, ...]] = {}
    for name in at("epj", names):
        if told := FAULTS[name].epj:
            epj.update((key, told) for key in _some((k for k in keys if k not in epj), name, every))
    pacs: dict[str, int] = {}
    exams = [act.exam for act in acts if act.exam is not None]
    if "pacs-busy" in names and exams:
        count = max(1, len(exams) // FAULTS["pacs-busy"].often)
        pacs = {exam.sop_instance_uid(exam.first): 2 for exam in dice.sample(exams, count)}
    return acts, epj, pacs


def _some(things: Iterable[T], name: str, every: int) -> list[T]:
    """As many of the things as have this fault where there are `every` messages: one at least."""
    often = FAULTS[name].often
    return list(islice(things, max(1, every // often) if often else 1))


def _paired(acts: list[Act], dice: Random) -> Iterator[Act]:
    """Now and then two messages that a story has one after the other for one listener become one act."""
    followers: dict[int, int] = {}
    last: dict[int, int] = {}
    for n, act in enumerate(acts):
        if act.story in last and act.said and acts[last[act.story]].part == act.part:
            followers[last[act.story]] = n
        last[act.story] = n
    heads: dict[int, int] = {}
    for head in dice.sample(sorted(followers), max(1, len(followers) // 100) if followers else 0):
        if head not in heads.values() and followers[head] not in heads:
            heads[head] = followers[head]
    gone = set(heads.values())
    for n, act in enumerate(acts):
        if n in heads:
            yield replace(act, said=(*act.said, *acts[heads[n]].said), fault="pipelined")
        elif n not in gone:
            yield act
