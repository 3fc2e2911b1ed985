"""Shared blocks: `routes/_shared/*.yaml`, whose `set:` and `on_failure:` routes take in with `use: [name]`.

A block is joined to the route before the route is checked, so that everything is checked where it is used and told
where it was written. The route's own key wins; of two blocks the later. Blocks use no other blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from broker.errors import ConfigError, Fault, did_you_mean
from broker.routing.files import SHARED
from broker.routing.language import SharedFile
from broker.yamlfile.check import validate
from broker.yamlfile.document import Document, NodePath

Section = Literal["set", "on_failure"]


class Blocks:
    """Every shared block by name. `complete`: no file of blocks was unreadable, so that a name not there is wrong."""

    def __init__(self, documents: Iterable[Document], *, complete: bool = True) -> None:
        self.faults: list[Fault] = []
        self._complete = complete
        self._home: dict[str, Document] = {}
        for document in documents:
            self._add(document)

    def _add(self, document: Document) -> None:
        try:
            validate(document, SharedFile)
        except ConfigError as error:
            self.faults += error.faults
        for name in document.value if isinstance(document.value, dict) else ():
            first = self._home.setdefault(name, document)
            if first is not document:
                message = f"'{name}' is the name of the shared block in {first.place((name,))}"
                self.faults.append(document.fault((name,), message, key=True, code="duplicate-name"))

    def joined(self, document: Document) -> tuple[Document, list[Fault]]:
        """A route file with the blocks that it uses, and what is wrong with its `use:` lines.

        What is no mapping or no list where one belongs is left as it is: the declaration of the language tells that.
        """
        faults: list[Fault] = []
        if not isinstance(document.value, dict):
            return document, faults
        places: list[tuple[NodePath, Section]] = [((), "on_failure")]
        targets = document.value.get("to")
        if isinstance(targets, tuple):
            places += [(("to", n), "set") for n, target in enumerate(targets) if isinstance(target, dict)]
        for at, section in places:
            names = document.get(at).get("use")
            for number, name in reversed([*enumerate(names if isinstance(names, tuple) else ())]):
                used = (*at, "use", number)
                home = self._home.get(str(name))
                if home is None or section not in _mapping(home.value[name]):
                    if home is not None or self._complete:
                        faults.append(self._missing(document, used, str(name), section))
                else:
                    document = document.with_part((*at, section), home, (str(name), section), used=used)
        return document, faults

    def _missing(self, document: Document, used: NodePath, name: str, section: Section) -> Fault:
        fitting = [known for known, home in self._home.items() if section in _mapping(home.value[known])]
        there = f"There are {', '.join(fitting)}." if fitting else f"They stand in routes/{SHARED}/*.yaml."
        what = (
            f"the shared block '{name}' has no {section}:"
            if name in self._home
            else (f"there is no shared block '{name}'")
        )
        hint = did_you_mean(name, fitting) or there
        return document.fault(used, what, hint, code="unknown-shared")


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}
