"""What is declared of a device: by its title, else by the first pattern that fits."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.device import Device, Window, find
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


def test_an_entry_counts_under_its_aliases_too() -> None:
    devices = {"CT*": LATIN, "CT1": Device(aliases=("CT1_OLD", "CT1_STORE"), worklist="own")}

    found = find(devices, "CT1_OLD")

    assert found == Device(aliases=("CT1", "CT1_STORE"), worklist="own")
    assert find(devices, "CT1") == devices["CT1"]
    assert find(devices, "CT2") == LATIN


def test_a_device_takes_from_its_profile_what_it_does_not_say_itself(tmp_path: Path) -> None:
    file = tmp_path / "broker.yaml"
    file.write_text(SETTINGS % "OCT1: { profile: zeiss-cirrus, max_answers: 50, charsets: [ISO_IR 100] }")

    device = load(file, env={}).device("OCT1")

    assert device == Device(
        profile="zeiss-cirrus", max_answers=50, charsets=("ISO_IR 100",), window=Window(), hide_limit=True
    )


def test_a_site_has_profiles_of_its_own(tmp_path: Path) -> None:
    file, folder = tmp_path / "broker.yaml", tmp_path / "profiles"
    file.write_text(SETTINGS % "'DX*': { profile: old-dx }")
    folder.mkdir()
    (folder / "old-dx.yaml").write_text(
        "summary: Old X-ray\nseen: [room 3]\ndevice: { name_components: 2, charsets: [ISO_IR 100] }\n"
    )

    assert load(file, env={}).device("DX2") == Device(
        profile="old-dx", name_components=2, charsets=("ISO_IR 100",)
    )


def test_a_profile_that_nobody_knows_is_told_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "broker.yaml"
    file.write_text(SETTINGS % "OCT1: { profile: zeiss-cirus }")

    with pytest.raises(ConfigError) as caught:
        load(file, env={})

    (fault,) = caught.value.faults
    assert "no profile is called 'zeiss-cirus'" in fault.message
    assert "zeiss-cirrus" in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        "drop: [Nothing]",
        "fill: { AccessionNumber: [StudyID] }",
        "fill: { RequestedProcedureCodeSequence: [StudyDescription] }",
        "lengths: { PatientID: 8 }",
        "lengths: { RequestedProcedureDescription: 0 }",
        "max_answers: 0",
        "window: { back: soon }",
        "worklist: mine",
    ],
)
def test_an_option_that_would_mislead_is_refused(tmp_path: Path, wrong: str) -> None:
    file = tmp_path / "broker.yaml"
    file.write_text(SETTINGS % f"US1: {{ {wrong} }}")

    with pytest.raises(ConfigError):
        load(file, env={})
