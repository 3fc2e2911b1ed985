"""The sessions of the documentation say what the commands say today."""

from __future__ import annotations

import difflib
import re

import pytest

from broker.store.schema import CURRENT
from tests.support.recorded import BLOCK, masked, replayed, steps
from tests.support.shared import REPOSITORY

PAGES = (
    "docs/new-device.md",
    "docs/queries.md",
    "docs/why.md",
    "docs/applying.md",
    "docs/tap.md",
    pytest.param("docs/drills.md", marks=pytest.mark.timeout(300)),
)
FENCED = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_PLAYED = {
    "docs/cluster.md": "five nodes, PostgreSQL and RabbitMQ on fixed ports: test_cluster.py has them",
    "docs/devices.md": "a device that answers and has worked today: test_devices.py is one",
    "docs/retrieve.md": "an archive that lost an object: test_retrieve.py has one",
}


@pytest.mark.integration
@pytest.mark.parametrize("name", PAGES)
def test_a_session_says_what_the_commands_say(name: str) -> None:
    page = (REPOSITORY / name).read_text(encoding="utf-8")

    now = replayed(page)

    differs = difflib.unified_diff(
        masked(page).splitlines(), masked(now).splitlines(), name, "now", n=1, lineterm=""
    )
    told = "\n".join(differs)
    assert not told, f"run: python -m tests.support.recorded {name}\n{told}"


def test_every_page_with_what_a_command_printed_is_played_or_says_why_not() -> None:
    pages = [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]

    recorded = {
        str(page.relative_to(REPOSITORY))
        for page in pages
        for block in FENCED.findall(page.read_text(encoding="utf-8"))
        if any(step.output for step in steps(block))
    }

    played = {page if isinstance(page, str) else page.values[0] for page in PAGES}
    assert recorded == played | NOT_PLAYED.keys()


def test_the_cluster_has_the_schema_of_today() -> None:
    page = (REPOSITORY / "docs/cluster.md").read_text(encoding="utf-8")

    assert re.findall(r"^ok +schema: (\d+)$", page, re.MULTILINE) == [str(CURRENT)]


def test_a_session_is_taken_apart_and_put_together_unchanged() -> None:
    block = "$ cat <<END\n> $ a\n> END\n$ a\n$ ls\none\n[2]\n"

    found = list(steps(block))

    assert [(step.command, step.output) for step in found] == [
        ("cat <<END\n$ a\nEND", ""),
        ("a", ""),
        ("ls", "one\n[2]\n"),
    ]
    assert "".join(map(str, found)) == block
    assert BLOCK.findall(f"text\n```console\n{block}```\n```yaml\na\n```\n") == [block]


def test_only_times_versions_messages_and_durations_may_differ() -> None:
    one = (
        "v3  live  7b6e1e86e311  2026-11-25T22:38:40Z  kari\n22:38:41\n"
        'message 01M8AEABFKXFEEMGDGTSS4DSWE, 12 in 5.7 s, {"seconds": 0.0}, 1,502 a second\n'
    )
    other = one
    for text, now in (
        ("7b6", "0b6"),
        ("22:38", "07:01"),
        ("ABFKX", "B08F9"),
        ("5.7", "0.3"),
        ("0.0", "1.2"),
        ("1,502", "99"),
    ):
        other = other.replace(text, now)

    assert masked(one) == masked(other)
    for text, now in (("v3", "v4"), ("kari", "ola"), ("12 in", "13 in")):
        assert masked(one) != masked(one.replace(text, now))
