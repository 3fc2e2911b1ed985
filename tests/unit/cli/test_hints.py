"""What messages and documents tell people to type is a command, with options that it has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

import click
import pytest

from broker.cli import broker
from tests.support.shared import REPOSITORY

_HINT = re.compile(r"`broker ([a-z][^`\n]*)`")
_WORD = re.compile(r"""--?[a-z][\w-]*|[\w-]+|"[^"]*"|'[^']*'|\S""")


def hints() -> list[tuple[str, str]]:
    """Place and text of each."""
    files = [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]
    for folder in ("broker", "adapters", "config"):
        files += [
            path for path in (REPOSITORY / folder).rglob("*.*") if path.suffix in (".py", ".md", ".yaml")
        ]
    return [
        (path.relative_to(REPOSITORY).as_posix(), hint)
        for path in files
        for hint in dict.fromkeys(_HINT.findall(path.read_text(encoding="utf-8")))
    ]


@cache
def commands() -> dict[str, click.Command]:
    return dict(_below(broker, ""))


def _below(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for part in command.list_commands(context):
            found = command.get_command(context, part)
            assert found is not None
            yield from _below(found, f"{name} {part}".strip())


def wrong(hint: str) -> str:
    """What of it there is not; empty: nothing."""
    words = _WORD.findall(hint)
    known = [n for n in range(len(words) + 1) if " ".join(words[:n]) in commands()]
    command, rest = commands()[" ".join(words[: known[-1]])], words[known[-1] :]
    if isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        return rest[0]
    options = {name for one in command.params for name in one.opts} | {"--help"}
    return next((word for word in rest if word.startswith("--") and word not in options), "")


def test_there_are_hints() -> None:
    assert len(hints()) > 200


@pytest.mark.parametrize(
    ("hint", "what"),
    [
        ("trace 1.2.3", ""),
        ("studies list --unsafe --since 7d", ""),
        ("trace --instance 1.2.3", "--instance"),
        ("studies lists", "lists"),
        ("lists", "lists"),
    ],
)
def test_what_is_wrong_is_found(hint: str, what: str) -> None:
    assert wrong(hint) == what


def test_every_hint_can_be_typed() -> None:
    assert [(place, hint) for place, hint in hints() if wrong(hint)] == []
