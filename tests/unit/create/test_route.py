"""A route that is created passes check and test at once, whatever it is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.create.route import Wanted, route_files
from broker.create.samples import SAMPLES, Sample
from broker.errors import ConfigError
from tests.unit.create.conftest import Site


def create(site: Site, **wanted: object) -> dict[Path, str]:
    asked = Wanted(**{"name": "a-new-one", "on": ("patient.*",), "to": ("epj",), **wanted})  # type: ignore[arg-type]
    files = route_files(site.settings, {}, asked, site.clock)
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
    return files


@pytest.mark.parametrize(
    ("on", "to", "send"),
    [
        (["patient.*"], ["epj"], "source"),
        (["patient.merged"], ["epj", "pacs-hl7"], "source"),
        (["patient.id-changed"], ["epj"], "source"),
        (["encounter.moved", "encounter.ended"], ["epj"], "source"),
        (["encounter.cancelled"], ["epj"], "source"),
        (["step.*"], ["worklist"], "source"),
        (["step.changed"], ["epj"], "ORM^O01"),
        (["order.cancelled", "step.cancelled"], ["epj"], "ORM^O01"),
        (["step.scheduled"], ["worklist", "epj"], "ORM^O01"),
        (["result.available"], ["epj"], "source"),
        (["instance.received"], ["pacs"], "source"),
    ],
)
def test_it_passes_its_own_test(site: Site, on: list[str], to: list[str], send: str) -> None:
    files = create(site, on=tuple(on), to=tuple(to), send=send)

    assert site.failures() == []
    assert site.tests_of("a-new-one") == ["the sample arrives"]
    assert {path.parent.name for path in files} <= {"routes", "tests"}


def test_its_test_can_fail(site: Site) -> None:
    create(site)
    site.edit("routes/a-new-one.yaml", "on: [patient.*]", "on: [patient.merged]")

    assert any("a-new-one: the sample arrives: epj" in text for text in site.failures())


def test_it_says_what_was_asked_for(site: Site) -> None:
    create(site, where="source == 'pas'", set={"MSH-6": "0101"}, description="The ward asked.", send="source")
    text = site.text("routes/a-new-one.yaml")

    assert "where: " in text
    assert 'MSH-6: "0101"' in text
    assert site.failures() == []


def test_a_message_of_ones_own_is_its_test(site: Site) -> None:
    raw = SAMPLES[1].hl7.replace("SA08", "OWN1")
    create(site, sample=Sample(hl7=raw))

    assert site.text("routes/tests/a_new_one.hl7") == raw
    assert site.failures() == []


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"to": ("ejp",)}, "there is no destination 'ejp'. Did you mean 'epj'?"),
        ({"on": ("patien.*",)}, "there is no event 'patien.*'. Did you mean 'patient.*'?"),
        ({"on": ("instance.received",)}, "so none can be forwarded"),
        ({"on": ("consent.changed",)}, "does one make consent.changed?"),
        ({"name": "adt-to-epj"}, "routes/adt-to-epj.yaml: is there already"),
        ({"where": "patient.sx == 'F'"}, "routes/a-new-one.yaml:"),
        ({"sample": Sample(hl7="MSH|^~\\&|\n")}, "send anything of that message"),
    ],
)
def test_what_is_in_the_way_is_said_and_nothing_is_written(
    site: Site, wanted: dict[str, object], said: str
) -> None:
    before = sorted(site.folder.rglob("*"))
    with pytest.raises(ConfigError) as error:
        create(site, **wanted)

    assert said in str(error.value)
    assert sorted(site.folder.rglob("*")) == before
