"""The shipped profiles hold, and the nearest is the one that shows most of its signs."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker import profiles
from broker.device import Device
from broker.errors import ConfigError
from broker.profiles import Asked, Profile, Signs, alike


def known(**signs: Signs) -> dict[str, Profile]:
    return {
        name: Profile(summary=name, seen=("here",), signs=one, device=Device()) for name, one in signs.items()
    }


KNOWN = known(
    eye=Signs(cancels=True, never=("PatientID",)),
    hd9=Signs(keys=("StudyDescription", "Modality")),
    us=Signs(never=("PatientID", "Modality")),
    unknown=Signs(),
)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ([Asked(keys=("PatientID",), narrowing=("PatientID", "Step.Modality"))], []),
        ([Asked(keys=("StudyDescription", "Step.Modality"), narrowing=("PatientID",))], ["hd9"]),
        ([Asked(keys=(), narrowing=("AccessionNumber",), cancelled=True)], ["eye", "us"]),
        ([Asked(keys=(), narrowing=("Step.Modality",))], []),
        (
            [Asked(keys=(), narrowing=()), Asked(keys=(), narrowing=("PatientID",), cancelled=True)],
            [],
        ),
        ([], []),
    ],
)
def test_the_nearest_comes_first(asked: list[Asked], expected: list[str]) -> None:
    assert [one.name for one in alike(KNOWN, asked)] == expected


def test_signs_are_told_in_words() -> None:
    signs = Signs(keys=("StudyDescription",), never=("Modality",), cancels=True)
    (found,) = alike(known(one=signs), [Asked(keys=("StudyDescription",), narrowing=("PatientID",))])

    assert (found.shown, found.missed) == (
        ("asks for StudyDescription", "never narrows by Modality"),
        ("cancels",),
    )


def test_every_shipped_profile_says_where_it_was_seen_and_needs_something(tmp_path: Path) -> None:
    shipped = profiles.load(tmp_path)

    assert {"agfa-nx", "siemens-nx", "zeiss-cirrus"} <= set(shipped)
    for name, profile in shipped.items():
        assert profile.device.model_fields_set, name
        assert all(profile.seen), name


def test_every_shipped_profile_begins_with_a_comment() -> None:
    for path in Path(profiles.__file__).parent.glob("*.yaml"):
        assert path.read_text(encoding="utf-8").startswith("# "), path.name


def test_a_site_s_own_profile_goes_before_a_shipped_one(tmp_path: Path) -> None:
    (tmp_path / "agfa-nx.yaml").write_text("summary: Ours\nseen: [room 3]\ndevice: { max_answers: 9 }\n")

    assert profiles.load(tmp_path)["agfa-nx"].device == Device(max_answers=9)


@pytest.mark.parametrize(
    "wrong",
    ["summary: X\nseen: [a]\n", "summary: X\nseen: [a]\ndevice: { profile: agfa-nx }\n", "summary: [\n"],
)
def test_a_profile_that_does_not_hold_is_told_with_its_file(tmp_path: Path, wrong: str) -> None:
    (tmp_path / "ours.yaml").write_text(wrong)

    with pytest.raises(ConfigError) as caught:
        profiles.load(tmp_path)

    assert "ours.yaml" in str(caught.value)
