from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.errors import ConfigError
from broker.runtime.configured import configure
from broker.settings import load
from tests.support.shared import REPOSITORY


@pytest.fixture
def changed(tmp_path: Path) -> Callable[..., list[str]]:
    """The shipped folder with changes to its files; returns the faults."""

    def faults(**changes: tuple[str, str]) -> list[str]:
        for name in ("config", "routes"):
            shutil.copytree(REPOSITORY / name, tmp_path / name)
        for name, (old, new) in changes.items():
            folder, file = name.split("__")
            stem, ending = file.rsplit("_", 1)
            path = tmp_path / folder / f"{stem.replace('_', '-')}.{ending}"
            text = path.read_text(encoding="utf-8")
            assert old in text
            path.write_text(text.replace(old, new, 1), encoding="utf-8")
        with pytest.raises(ConfigError) as error:
            configure(load(tmp_path / "config" / "broker.yaml", env={}), {})
        return [str(fault).replace(f"{tmp_path}/", "") for fault in error.value.faults] or [str(error.value)]

    return faults


def test_faults_of_tables_routes_and_listeners_come_together(changed: Callable[..., list[str]]) -> None:
    told = changed(
        config__stations_csv=("code,aets", "code,aetz"),
        config__modalities_csv=("code,modality", "code,modalty"),
        routes__results_to_epj_yaml=("result.available", "result.availible"),
    )

    for place in ("config/stations.csv:", "config/modalities.csv:", "routes/results-to-epj.yaml:"):
        assert [fault for fault in told if fault.startswith(place)], (place, told)


def test_a_status_that_is_none_is_refused(changed: Callable[..., list[str]]) -> None:
    (told,) = changed(config__order_status_csv=("NW,,SCHEDULED", "NW,,PLANNED"))

    assert "order-status.csv" in told
    assert "PLANNED" in told


def test_a_route_to_nowhere_is_refused(changed: Callable[..., list[str]]) -> None:
    told, *_ = changed(routes__adt_to_epj_yaml=("hl7: epj", "hl7: ejp"))

    assert told.startswith("routes/adt-to-epj.yaml:")
    assert "Did you mean 'epj'?" in told
