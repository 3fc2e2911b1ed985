"""A device that is created is shown its rows, and the files are otherwise as people wrote them."""

from __future__ import annotations

import difflib
import shutil

import pytest

from broker.create.device import Device, Plan, plan, sheet_of
from broker.create.listing import listed
from broker.errors import ConfigError
from broker.runtime.configured import read_files
from tests.unit.create.conftest import Site

CT3 = {"name": "CT 3", "kind": "modality", "ae": "CT3_STO", "station": "CT-LAB3", "modality": "CT"}


def planned(site: Site, **device: str) -> Plan:
    return plan(site.settings, {}, Device(**{**CT3, **device}), site.clock)  # type: ignore[arg-type]


def write(found: Plan) -> None:
    for path, text in found.files.items():
        path.write_text(text, encoding="utf-8")


def lost(before: str, after: str) -> list[str]:
    """Lines that are no more."""
    return [d for d in difflib.ndiff(before.splitlines(), after.splitlines()) if d.startswith("- ")]


def test_a_modality_gets_its_row_its_peer_and_a_test(site: Site) -> None:
    before = {path: path.read_text(errors="replace") for path in site.folder.rglob("*.*") if path.is_file()}
    found = planned(site, location="2. etasje, vest")
    write(found)

    assert [path.name for path in found.files] == [
        "stations.csv",
        "device_ct3_sto.hl7",
        "steps-to-worklist.yaml",
        "broker.yaml",
    ]
    lines = site.text("config/stations.csv").splitlines()
    row = lines.index('CT-LAB3,CT3_STO,STO,CT,CT 3,"2. etasje, vest"')
    policy = next(number for number, line in enumerate(lines, 1) if line.startswith("modality:CT,"))
    assert lines[row - 1].startswith("CT-LAB2,")
    assert "CT3_STO" in site.settings.broker.dicom.peers
    assert "an order for CT-LAB3 is shown on CT3_STO" in site.tests_of("steps-to-worklist")
    assert site.failures() == []
    for path, text in found.files.items():
        gone = lost(before.get(path, ""), text)
        assert len(gone) == (1 if path.name == "broker.yaml" else 0), gone
    assert found.notes == (
        f"orders that name no station go by config/stations.csv:{policy} (modality:CT):"
        " add CT3_STO there if it shall show them",
    )


def test_its_test_can_fail(site: Site) -> None:
    write(planned(site))
    site.edit("config/stations.csv", "CT-LAB3,CT3_STO", "CT-LAB3,CT2_STO")

    (told,) = site.failures()
    assert told.startswith("steps-to-worklist: an order for CT-LAB3 is shown on CT3_STO: ")
    assert told.endswith("expected CT3_STO, got CT2_STO")


def test_a_first_device_of_its_kind_stands_behind_the_others_and_before_the_policies(site: Site) -> None:
    write(planned(site, ae="PX1_STO", station="PX-1", modality="PX"))
    lines = site.text("config/stations.csv").splitlines()
    row = lines.index("PX-1,PX1_STO,STO,PX,CT 3,")

    assert lines[row - 1].startswith("OYE,")
    assert lines[row + 1].startswith("modality:CT,")
    assert site.failures() == []


def test_where_no_route_shows_it_a_route_of_its_own_is_written(site: Site) -> None:
    (site.folder / "routes" / "steps-to-worklist.yaml").unlink()
    write(planned(site))

    assert site.tests_of("device-ct3-sto-to-worklist") == ["an order for CT-LAB3 is shown on CT3_STO"]
    assert site.failures() == []
    # It shows that station's orders only.
    shutil.copy("routes/tests/orm_fundus.hl7", "routes/tests/device_ct3_sto_to_worklist.hl7")
    assert any("device-ct3-sto-to-worklist" in text for text in site.failures())


def test_a_sender_only_becomes_a_peer(site: Site) -> None:
    found = planned(site, kind="sender", station="", modality="")

    assert [path.name for path in found.files] == ["broker.yaml"]


@pytest.mark.parametrize(
    ("device", "said"),
    [
        (
            {"ae": "CT2_STO"},
            "the AE title CT2_STO is in use: config/broker.yaml:20 (a peer), config/stations.csv:12 (station CT-LAB2),",
        ),
        ({"ae": "BROKER"}, "in use: config/broker.yaml:18 (the broker's own)"),
        ({"ae": "ORTHANC"}, "(destination pacs)"),
        ({"station": "CT-LAB1"}, "the station CT-LAB1 is there already: config/stations.csv:11"),
        ({"ae": "A_TITLE_OF_17_CHA"}, "--ae: AE: at most 16 characters"),
        ({"station": ""}, "needs --station"),
        ({"modality": ""}, "and --modality"),
        ({"station": "CT,LAB"}, "a code has no comma"),
    ],
)
def test_what_is_taken_or_wrong_is_said_by_place(site: Site, device: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        planned(site, **device)

    assert said in str(error.value)


def test_a_table_that_is_none_of_stations_is_refused(site: Site) -> None:
    with pytest.raises(ConfigError, match=r"there is no table 'station'. Did you mean 'stations'\?"):
        sheet_of(site.settings, read_files(site.settings), "station")
    site.edit("config/broker.yaml", "stations: stations.csv", "stations: modalities.csv")
    with pytest.raises(ConfigError, match="no columns code and aets"):
        sheet_of(site.settings, read_files(site.settings), "stations")


def test_devices_are_listed_with_what_is_missing(site: Site) -> None:
    site.edit("config/broker.yaml", "CT1_STO, CT2_STO,", "CT1_STO, LOOSE,")
    sheet = sheet_of(site.settings, read_files(site.settings), "stations")

    found = {
        one.ae: one for one in listed(sheet, site.settings.broker.dicom.peers, {"CT1_STO": 3, "GHOST": 1})
    }

    assert (found["CT1_STO"].stations, found["CT1_STO"].policies) == (("CT-LAB1",), ("modality:CT",))
    assert (found["CT1_STO"].rows, found["CT1_STO"].missing) == (3, ())
    assert (found["FUNDUS1"].name, found["FUNDUS1"].stations) == ("Funduskamera", ("OYE-FUNDUS", "OYE"))
    assert found["CT2_STO"].missing == ("not in dicom.peers: it may not call",)
    assert found["LOOSE"].missing == ("no row in config/stations.csv: no order is shown on it",)
    assert len(found["GHOST"].missing) == 2
    unknown = listed(sheet, (), None)
    assert {one.rows for one in unknown} == {None}
