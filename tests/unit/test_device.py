"""What is declared of a device: by its title, else by the first pattern that fits."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.device import Device, find
from broker.errors import ConfigError
from broker.settings import load

LATIN, UTF_8 = Device(charsets=("ISO_IR 100",)), Device(charsets=("ISO_IR 192",))
SETTINGS = "site: STO\ndicom: { port: 0 }\nhttp: { port: 0 }\ninbound: {}\noutbound: {}\ndevices: { %s }\n"


@pytest.mark.parametrize(
    ("aet", "expected"), [("US1", UTF_8), ("US2", LATIN), ("USX", LATIN), ("CT1", None), ("us2", None)]
)
def test_a_title_goes_before_patterns_and_the_first_of_these_counts(
    aet: str, expected: Device | None
) -> None:
    devices = {"US*": LATIN, "US?": UTF_8, "US1": UTF_8}

    assert find(devices, aet) == expected


def test_the_settings_hold_devices(tmp_path: Path) -> None:
    file = tmp_path / "broker.yaml"
    file.write_text(SETTINGS % "US*: { charsets: [ISO_IR 100, ISO_IR 110], name_length: 32 }")

    assert load(file, env={}).device("US7") == Device(charsets=("ISO_IR 100", "ISO_IR 110"), name_length=32)


@pytest.mark.parametrize(
    "wrong", ["US1: { charsets: [ISO_IR 999] }", "US1: { name_length: 65 }", "A23456789012345678: {}"]
)
def test_what_no_device_can_be_is_refused(tmp_path: Path, wrong: str) -> None:
    file = tmp_path / "broker.yaml"
    file.write_text(SETTINGS % wrong)

    with pytest.raises(ConfigError):
        load(file, env={})
