"""What the settings and the adapters say around the routes, and the codes that stand in the settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker import settings as settings_module
from broker.errors import ConfigError
from broker.routing.rules import RULES, Rule
from broker.runtime.surroundings import surroundings_of
from broker.settings import Settings
from tests.support.shared import REPOSITORY

HEAD = """\
site: STO
dicom: { port: 0 }
http: { port: 0 }
inbound:
  pas: { adapter: pas, port: 0, site: SVG, issuer: STO&2.999.7001&ISO }
  worklists: { adapter: modality, charsets: %s }
"""
WORKLIST = "outbound: { worklist: { adapter: modality } }"


def load(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "broker.yaml"
    path.write_text(text, encoding="utf-8")
    return settings_module.load(path, env={})


def codes(tmp_path: Path, lines: str) -> set[str]:
    try:
        loaded = load(tmp_path, HEAD % "[ISO_IR 100]" + lines + "\n")
    except ConfigError as error:
        return {fault.code for fault in error.faults}
    return {fault.code for fault in surroundings_of(loaded, {}).faults}


@pytest.mark.parametrize(
    "rule", [rule for rule in RULES.values() if rule.file == "settings"], ids=lambda rule: rule.code
)
def test_the_example_has_it_and_the_correction_has_not(rule: Rule, tmp_path: Path) -> None:
    assert codes(tmp_path, rule.example) == {rule.code}
    assert codes(tmp_path, rule.better) == set()


def test_a_timeout_that_is_nothing_is_told_at_its_line(tmp_path: Path) -> None:
    (fault,) = surroundings_of(load(tmp_path, HEAD % "[ISO_IR 100]" + RULES["no-timeout"].example), {}).faults

    assert (fault.line, fault.column, fault.severity) == (7, 70, "warning")
    assert fault.message == "$.outbound.epj.ack_timeout: 'ack_timeout' of 'epj' is nothing."


def test_listeners_say_what_they_make(tmp_path: Path) -> None:
    around = surroundings_of(load(tmp_path, HEAD % "[ISO_IR 100]" + WORKLIST), {})

    assert around.sources["pas"].site == "SVG"
    assert around.sources["worklists"].events == frozenset()


def test_time_makes_events_too(tmp_path: Path) -> None:
    around = surroundings_of(load(tmp_path, HEAD % "[ISO_IR 100]" + WORKLIST), {})

    assert around.made is not None
    assert "study.stored" in around.made
    assert around.sources_of(["study.completed"]) == {"clock"}
    assert around.made is not None
    assert "patient.merged" in around.made
    assert "step.scheduled" not in around.made
    assert around.sources_of(["encounter.moved"]) == {"pas"}
    segments = around.segments(["patient.merged"])
    assert segments is not None
    assert {"PID", "MRG"} <= segments
    assert "IPC" not in segments
    assert around.segments(["step.scheduled"]) is None, "nobody makes it: nothing is concluded"


@pytest.mark.parametrize(
    ("charsets", "found"),
    [
        ("[ISO_IR 100, ISO_IR 192]", {"worklist": {"ISO_IR 100": "latin_1", "ISO_IR 192": "utf_8"}}),
    ],
)
def test_a_worklist_shows_what_its_listeners_can(tmp_path: Path, charsets: str, found: object) -> None:
    assert surroundings_of(load(tmp_path, HEAD % charsets + WORKLIST), {}).charsets == found


def test_the_shipped_settings_are_clean_and_every_listener_says_what_it_makes() -> None:
    around = surroundings_of(settings_module.load(REPOSITORY / "config" / "broker.yaml", env={}), {})

    assert around.faults == ()
    assert around.made is not None
    assert {"patient.updated", "step.completed", "result.available", "instance.received"} <= around.made
    assert list(around.texts) == [(REPOSITORY / "config" / "broker.yaml").relative_to(Path.cwd()).as_posix()]
