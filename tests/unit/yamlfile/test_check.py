"""Documents checked against models: every mistake at its place, nothing of a value in a message."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Discriminator

from broker.errors import ConfigError
from broker.scalars import Duration, Secret, Size, Switch, Text
from broker.yamlfile.check import validate
from broker.yamlfile.reading import loads
from tests.support.faults import faults


class Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class Mllp(Part):
    kind: Literal["mllp"]
    port: int


class Dicom(Part):
    kind: Literal["dicom"]
    port: int
    ae_title: Text


class Settings(Part):
    listeners: tuple[Annotated[Mllp | Dicom, Discriminator("kind")], ...] = ()
    pause: Duration = 1.0
    room: Size = 0
    on: Switch = True
    codes: dict[str, Text] = {}
    password: Secret | None = None


def check(text: str) -> Settings:
    return validate(loads(text, "f.yaml"), Settings)


def test_every_fault_at_once_each_at_its_place() -> None:
    text = """\
listeners:
  - { kind: mllp, port: "25" }
  - kind: dicom
    ae_titel: X
    port: 104
  - kind: dicm
pause: 5
room: 64MB
on: NO
codes: { a: null }
passwrd: x
"""
    assert faults(check, text) == [
        "f.yaml:2:25: $.listeners[0].port: must be a whole number.",
        "f.yaml:3:5: $.listeners[1]: 'ae_title' is missing.",
        "f.yaml:4:5: $.listeners[1].ae_titel: unknown key 'ae_titel'. Did you mean 'ae_title'?",
        "f.yaml:6:11: $.listeners[2].kind: must be one of 'mllp', 'dicom'. Did you mean 'dicom'?",
        "f.yaml:7:8: $.pause: must be a duration such as 5s, 10m or 24h.",
        "f.yaml:8:7: $.room: must be a size such as 512KiB, 64MiB or 2GiB.",
        "f.yaml:9:5: $.on: must be true or false.",
        'f.yaml:10:13: $.codes.a: must be text. Write "" for an empty text.',
        "f.yaml:11:1: $.passwrd: unknown key 'passwrd'. Did you mean 'password'?",
    ]


def test_values_never_stand_in_a_fault() -> None:
    text = "listeners: [{kind: hunter2, port: hunter2}]\npause: hunter2\non: hunter2\npassword: [hunter2]"

    assert faults(check, text)
    assert not any("hunter2" in fault for fault in faults(check, text))


def test_a_part_of_a_document() -> None:
    document = loads("a:\n  b: {kind: mllp, port: 1}", "f.yaml")

    assert validate(document, Mllp, at=("a", "b")).port == 1
    with pytest.raises(ConfigError, match=re.escape("f.yaml:2:19: $.a.b.port: unknown key")):
        validate(document, Settings, at=("a", "b"))
