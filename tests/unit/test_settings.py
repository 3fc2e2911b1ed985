from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker import settings
from broker.errors import ConfigError
from broker.settings import Settings, load
from tests.support.certificates import Authority
from tests.support.faults import faults as told
from tests.support.shared import REPOSITORY

CONFIG = REPOSITORY / "config" / "broker.yaml"
SCHEMA = REPOSITORY / "config" / "broker.schema.json"

SMALL = """
    site: STO
    dicom: { port: 11112 }
    http: { port: 8080 }
    inbound:
      pas:
        adapter: pas
        port: 2575
        issuer: STO&2.999.7001&ISO
    outbound:
      epj:
        adapter: epj
        host: 127.0.0.1
        port: 6661
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a settings file: `SMALL` with pieces replaced."""

    def write(*changes: tuple[str, str], text: str = SMALL) -> Path:
        text = textwrap.dedent(text).lstrip("\n")
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "broker.yaml"
        path.write_text(text)
        return path

    return write


def faults(path: Path, **env: str) -> list[str]:
    """Every fault as a person sees it, without the folder."""
    return [fault.removeprefix(f"{path.parent}/") for fault in told(load, path, env=env)]


# --- the shipped file ---


def shipped(**env: str) -> Settings:
    return load(CONFIG, env=env)


def options(found: Settings, name: str) -> Any:
    both = {entry.name: entry for entry in (*found.inbound, *found.outbound)}
    return both[name].config


def test_the_defaults_are_what_is_promised() -> None:
    found = shipped()

    assert found.broker.bind == "127.0.0.1"
    assert found.data_folder == Path("data").resolve()
    assert found.routes_folder == REPOSITORY / "routes"
    assert found.table_file("stations") == REPOSITORY / "config" / "stations.csv"
    assert [options(found, name).port for name in ("pas", "orders", "results")] == [2575, 2576, 2577]
    assert options(found, "demographics").port == 0, "two brokers of one machine do not meet"
    assert (found.broker.dicom.port, found.broker.dicom.ae_title) == (11112, "BROKER")
    assert found.broker.http.port == 8080
    pacs, epj = options(found, "pacs"), options(found, "epj")
    assert (pacs.host, pacs.port, pacs.called_aet) == ("127.0.0.1", 4242, "ORTHANC")
    assert (epj.host, epj.port) == ("127.0.0.1", 6661)
    assert {o.name: o.entry.enabled for o in found.outbound}["pacs-hl7"] is False
    assert found.open_ae is True
    assert found.broker.limits.min_free == 64 * 1024 * 1024


VARIABLES: dict[str, tuple[str, Callable[[Settings], Any], Any]] = {
    "BROKER_DATA": ("/var/lib/broker", lambda s: str(s.data_folder), "/var/lib/broker"),
    "BROKER_STORE": (
        "postgresql://broker@db/broker",
        lambda s: s.broker.store.get_secret_value(),
        "postgresql://broker@db/broker",
    ),
    "BROKER_EXECUTOR": ("celery", lambda s: s.broker.executor, "celery"),
    "BROKER_SPOOL": ("/srv/spool", lambda s: str(s.spool_folder), "/srv/spool"),
    "BROKER_PAS_PORT": ("3575", lambda s: options(s, "pas").port, 3575),
    "BROKER_ORDERS_PORT": ("3576", lambda s: options(s, "orders").port, 3576),
    "BROKER_RESULTS_PORT": ("3577", lambda s: options(s, "results").port, 3577),
    "BROKER_PDQ_PORT": ("3578", lambda s: options(s, "demographics").port, 3578),
    "BROKER_DICOM_PORT": ("104", lambda s: s.broker.dicom.port, 104),
    "BROKER_OPEN_AE": ("0", lambda s: s.open_ae, False),
    "BROKER_HTTP_PORT": ("80", lambda s: s.broker.http.port, 80),
    "BROKER_PACS_HOST": ("pacs.example", lambda s: options(s, "pacs").host, "pacs.example"),
    "BROKER_PACS_PORT": ("104", lambda s: options(s, "pacs").port, 104),
    "BROKER_PACS_AET": ("123", lambda s: options(s, "pacs").called_aet, "123"),
    "BROKER_PACS_COMMITMENT": (
        "true",
        lambda s: next(e for e in s.outbound if e.name == "pacs-commitment").entry.enabled,
        True,
    ),
    "BROKER_PACS_HL7_PORT": ("2599", lambda s: options(s, "pacs-hl7").port, 2599),
    "BROKER_MPPS_HOST": ("ris.example", lambda s: options(s, "mpps").host, "ris.example"),
    "BROKER_MPPS_PORT": ("104", lambda s: options(s, "mpps").port, 104),
    "BROKER_MPPS_AET": ("RIS2", lambda s: options(s, "mpps").called_aet, "RIS2"),
    "BROKER_EPJ_HOST": ("epj.example", lambda s: options(s, "epj").host, "epj.example"),
    "BROKER_EPJ_PORT": ("7661", lambda s: options(s, "epj").port, 7661),
    "BROKER_BUS": ("redis://r.example", lambda s: str(s.bus), "redis://r.example"),
    "BROKER_BIND": ("0.0.0.0", lambda s: s.broker.bind, "0.0.0.0"),
}
"""The contract: variable, what it is set to, where that is seen."""


@pytest.mark.parametrize("name", VARIABLES)
def test_a_variable_overrides(name: str) -> None:
    text, seen, value = VARIABLES[name]

    assert seen(shipped(**{name: text})) == value
    assert seen(shipped(**{name: ""})) == seen(shipped()), "empty is unset"


def test_a_store_that_is_no_postgresql_is_refused_and_its_password_is_never_shown() -> None:
    with pytest.raises(ConfigError, match="postgresql://") as failure:
        shipped(BROKER_STORE="mysql://broker:hemmelig@db/broker")
    assert "hemmelig" not in str(failure.value)
    assert "hemmelig" not in repr(shipped(BROKER_STORE="postgresql://broker:hemmelig@db/broker"))


def test_the_bus_is_where_the_environment_says_and_its_password_is_not_shown() -> None:
    assert shipped().bus.shared is False
    told = shipped(BROKER_BUS="amqp://u:s3cret@rabbit.example/hospital")
    found = told.bus

    assert "s3cret" not in repr(told)
    assert found.url == "amqp://u:s3cret@rabbit.example/hospital"
    assert str(found) == "amqp://rabbit.example/hospital"


def test_a_bus_that_is_none_is_told_at_its_place_without_its_password() -> None:
    with pytest.raises(ConfigError) as error:
        shipped(BROKER_BUS="amqq://u:s3cret@rabbit.example")

    (fault,) = error.value.faults
    assert (fault.path, fault.hint) == ("$.bus", "Did you mean 'amqp'?")
    assert "s3cret" not in str(error.value)


def test_the_pacs_hl7_listener_is_on_where_its_port_is_set() -> None:
    found = shipped(BROKER_PACS_HL7_PORT="2599")

    assert {o.name: o.entry.enabled for o in found.outbound}["pacs-hl7"] is True


@pytest.mark.parametrize(
    ("bind", "told", "is_open"),
    [
        ("", "", True),
        ("127.0.0.1", "", True),
        ("localhost", "", True),
        ("::1", "", True),
        ("0.0.0.0", "", False),
        ("10.1.2.3", "", False),
        ("10.1.2.3", "1", True),
        ("10.1.2.3", "true", True),
        ("127.0.0.1", "0", False),
        ("127.0.0.1", "false", False),
    ],
)
def test_unknown_ae_titles_are_let_in_only_on_loopback_unless_told(
    bind: str, told: str, is_open: bool
) -> None:
    assert shipped(BROKER_BIND=bind, BROKER_OPEN_AE=told).open_ae is is_open


def test_every_variable_of_the_file_is_in_the_contract() -> None:
    named = {part.split(":")[0] for part in CONFIG.read_text().split("${env:")[1:]} - {"NAME"}

    assert named == set(VARIABLES)


def test_every_shipped_entry_loads_its_adapter() -> None:
    found = shipped()

    assert {e.name: (e.entry.adapter, e.spec.name) for e in found.inbound} == {
        "pas": ("pas", "pas"),
        "orders": ("ris", "ris"),
        "results": ("lab", "lab"),
        "worklists": ("modality", "modality"),
        "performed": ("mpps", "mpps"),
        "demographics": ("pdq", "pdq"),
        "patients": ("patient-root", "patient-root"),
        "images": ("pacs", "pacs"),
        "commitments": ("commitment", "commitment"),
        "availability": ("availability", "availability"),
    }
    assert {e.name: e.spec.kind for e in found.outbound} == {
        "worklist": "worklist",
        "epj": "hl7",
        "pacs": "dicom",
        "pacs-hl7": "hl7",
        "mpps": "dicom",
        "pacs-commitment": "dicom",
        "device-commitment": "dicom",
    }


def test_an_archive_that_is_asked_may_call_to_answer() -> None:
    named = {"BROKER_PACS_AET": "FARSTORE"}

    assert "FARSTORE" in shipped(**named, BROKER_PACS_COMMITMENT="true").callers
    assert "FARSTORE" not in shipped(**named).callers
    assert "CT1_STO" in shipped().callers


# --- mistakes ---


def test_a_small_file_is_enough(write: Write) -> None:
    found = load(write(), env={})

    assert [e.name for e in (*found.inbound, *found.outbound)] == ["pas", "epj"]
    assert found.file.is_absolute()


@pytest.mark.parametrize(
    ("old", "new", "place", "said"),
    [
        (
            "adapter: pas",
            "adapter: paz",
            "6:14",
            "$.inbound.pas.adapter: no inbound adapter 'paz' is installed",
        ),
        (
            "adapter: epj",
            "adapter: ejp",
            "11:14",
            "$.outbound.epj.adapter: no outbound adapter 'ejp' is installed",
        ),
        ("adapter: pas", "adapter: paz", "6:14", "Did you mean 'pas'?"),
        ("adapter: pas\n", "enabled: true\n", "5:3", "$.inbound.pas: 'adapter' is missing."),
        ("port: 2575", "prot: 2575", "5:3", "$.inbound.pas: 'port' is missing."),
        ("port: 2575", "prot: 2575", "7:5", "unknown key 'prot'. Did you mean 'port'?"),
        ("port: 2575", "port: 70000", "7:11", "input should be less than or equal to 65535."),
        ("port: 2575", "port: '2575'", "7:11", "$.inbound.pas.port: must be a whole number."),
        ("port: 2575", "port: ${env:BROKER_X}", "7:11", "the environment variable BROKER_X is not set"),
        (
            "STO&2.999.7001&ISO",
            "a&b&c&d",
            "8:13",
            "$.inbound.pas.issuer: an issuer is written namespace&oid&ISO.",
        ),
        ("site: STO", "sight: STO", "1:1", "$.sight: unknown key 'sight'. Did you mean 'site'?"),
        ("site: STO", "site: ''", "1:7", "$.site: string should have at least 1 character."),
        (
            "11112 }",
            "1, ae_title: SEVENTEEN_LETTERS }",
            "2:29",
            "$.dicom.ae_title: AE: at most 16",
        ),
        ("site: STO", "bus_queues: { q: [patients.#] }", "1:19", "Did you mean 'patient'?"),
        ("site: STO", "bus_queues: { q.dead: [patient.#] }", "1:15", "a queue's name has letters"),
        ("http: { port: 8080 }", "http: [8080]", "3:7", "$.http: must be a mapping."),
        (
            "port: 6661",
            "port: 0",
            "13:11",
            "$.outbound.epj.port: input should be greater than or equal to 1.",
        ),
    ],
)
def test_a_mistake_is_placed_exactly(write: Write, old: str, new: str, place: str, said: str) -> None:
    told = [fault for fault in faults(write((old, new))) if fault.startswith(f"broker.yaml:{place}: ")]

    assert [fault for fault in told if said in fault], told


@pytest.mark.parametrize("name", ["operator", "clock"])
def test_no_listener_speaks_for_the_people_who_decide_or_for_time(write: Write, name: str) -> None:
    told = faults(write(("  pas:\n", f"  {name}:\n")))

    assert any(f"no listener may be called '{name}'" in fault for fault in told), told


@pytest.mark.parametrize("zone", ["Europe/Olso", "../etc/passwd", ""])
def test_a_time_zone_that_is_none_is_refused(write: Write, zone: str) -> None:
    told = faults(write(("site: STO", f"site: STO\ntime_zone: '{zone}'")))

    assert any("must be a time zone such as Europe/Oslo" in fault for fault in told), told


def test_a_name_that_is_near_nothing_is_told_what_there_is(write: Write) -> None:
    (fault,) = faults(write(("adapter: pas", "adapter: zzzzzz")))

    assert fault.endswith(
        "is installed. Installed: availability, commitment, lab, modality, mpps, pacs, pas, patient-root, pdq, ris."
    )


def test_a_time_out_of_a_list_that_is_none_is_told_at_its_place(write: Write) -> None:
    (fault,) = faults(write(("inbound:", "steps: { idle: { epj: 7d } }\ninbound:")))

    assert fault == "broker.yaml:4:18: $.steps.idle.epj: no worklist is called 'epj'. There are none."


def test_an_archive_that_is_no_destination_is_told_at_its_place(write: Write) -> None:
    asking = "asking: { adapter: archive-commitment, archive: ep, host: h, port: 104, called_aet: A }\n  epj:"
    (fault,) = faults(write(("epj:", asking)))

    assert "no destination is called 'ep'" in fault
    assert "epj" in fault


TLS = "dicom: { port: 11112, tls: { certificate_file: tls/own.pem, key_file: tls/own.key%s } }"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with a certificate and its key, beside the settings."""
    issued = Authority(tmp_path / "tls").issue("own")
    return issued.key.parent


def test_tls_has_a_port_of_its_own_and_files_beside_the_settings(write: Write, own: Path) -> None:
    plain = "dicom: { port: 11112 }"
    found = load(write((plain, TLS % "")), env={})

    tls = found.broker.dicom.tls
    assert tls is not None
    assert (tls.port, tls.certificate_file, tls.only) == (2762, str(own / "own.pem"), False)
    assert faults(write((plain, TLS % ", port: 11112"))) == [
        "broker.yaml:2:8: $.dicom: tls.port: TLS has a port of its own, another one than `port`."
    ]


def test_where_only_tls_is_for_the_network_the_other_port_is_on_loopback(write: Write, own: Path) -> None:
    for more, bound in (("", "0.0.0.0"), (", only: true", "127.0.0.1")):
        dicom = TLS % more
        found = load(write(("dicom: { port: 11112 }", f"bind: 0.0.0.0\n{dicom}")), env={})
        assert (found.dicom_bind, found.broker.bind) == (bound, "0.0.0.0")


def test_a_key_that_is_not_there_is_told_at_its_place(write: Write, own: Path) -> None:
    (own / "own.key").unlink()

    (fault,) = faults(write(("dicom: { port: 11112 }", TLS % "")))

    assert fault == "broker.yaml:2:71: $.dicom.tls.key_file: the file is not there."


@pytest.mark.parametrize(
    "entry",
    [
        "pacs, host: h, port: 2762, called_aet: A",
        "mpps, host: h, port: 2762, called_aet: A",
        "archive-commitment, host: h, port: 2762, called_aet: A, archive: epj",
        "device-commitment",
    ],
)
def test_tls_with_nothing_under_it_is_not_taken_for_none(write: Write, entry: str) -> None:
    """As where its options are commented out: what was to be encrypted would leave in the clear, and nobody be told."""
    nothing = "nothing stands under it. Write its options, `{}` where it needs none, or leave it out."

    found = faults(write(("outbound:\n", f"outbound:\n  called: {{ adapter: {entry}, tls: }}\n")))
    assert [fault.partition(" $.")[2] for fault in found] == [f"outbound.called.tls: {nothing}"]
    (taken,) = faults(write(("{ port: 11112 }", "{ port: 11112, tls: }")))
    assert taken.endswith(f" $.dicom.tls: {nothing}")


def test_a_section_that_is_no_mapping_is_told_once(write: Write) -> None:
    assert faults(
        write(("    host: 127.0.0.1\n    port: 6661\n", ""), ("epj:\n    adapter: epj", "epj: none"))
    ) == ["broker.yaml:10:3: $.outbound.epj: must be a mapping."]
    assert faults(
        write(text="site: STO\ndicom: {port: 1}\nhttp: {port: 1}\ninbound: []\noutbound: {}\n")
    ) == ["broker.yaml:4:10: $.inbound: must be a mapping."]


def test_every_mistake_is_told_at_once_in_the_order_of_the_file(write: Write) -> None:
    told = faults(
        write(
            ("site: STO", "sight: STO"),
            ("adapter: pas", "adapter: paz"),
            ("port: 6661", "port: x"),
            ("8080", "-1"),
        )
    )

    assert [fault.split(": ")[0] for fault in told] == [
        "broker.yaml:1:1",
        "broker.yaml:1:1",
        "broker.yaml:3:15",
        "broker.yaml:6:14",
        "broker.yaml:13:11",
    ]


@pytest.mark.parametrize("text", ["", "just text", "- a list", "~"])
def test_a_file_that_is_no_settings_is_refused(write: Write, text: str) -> None:
    path = write()
    path.write_text(text)

    assert faults(path) != []


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert faults(tmp_path / "broker.yaml") == ["broker.yaml:1:1: cannot be read: No such file or directory."]


def test_an_option_with_another_name_in_the_file_reaches_its_adapter(write: Write) -> None:
    found = load(write(("port: 2575", "port: 2575\n    validate: strict")), env={})

    assert options(found, "pas").validate_ == "strict"
    assert found.inbound[0].config.model_dump(by_alias=True)["validate"] == "strict"


def test_an_entry_can_be_off(write: Write) -> None:
    found = load(write(("adapter: pas\n", "adapter: pas\n    enabled: false\n")), env={})

    assert found.inbound[0].entry.enabled is False


def test_a_destination_has_a_rate_and_windows(write: Write) -> None:
    plain = load(write(), env={}).outbound[0].entry
    assert (plain.rate, plain.windows, plain.connections) == (None, (), 1)
    paced = load(
        write(("port: 6661", "port: 6661\n    rate: 0.5\n    windows: [22:00-06:00, 12:00-12:30]")), env={}
    )

    entry = paced.outbound[0].entry
    assert (entry.rate, entry.windows) == (0.5, ("22:00-06:00", "12:00-12:30"))


@pytest.mark.parametrize(
    ("option", "place", "said"),
    [
        ("rate: 0", "14:11", "$.outbound.epj.rate: input should be greater than 0."),
        ("rate: fast", "14:11", "$.outbound.epj.rate: "),
        ("windows: 22:00-06:00", "14:14", "$.outbound.epj.windows: "),
        ("windows: [22-06]", "14:15", "must be two times of day, as in 22:00-06:00"),
        ("windows: [22:00-06:00, 25:00-06:00]", "14:28", "must be two times of day"),
        ("windows: [06:00-06:00]", "14:15", "must be two different times of day"),
    ],
)
def test_a_wrong_rate_or_window_is_placed(write: Write, option: str, place: str, said: str) -> None:
    told = faults(write(("port: 6661", f"port: 6661\n    {option}")))

    assert [f for f in told if f.startswith(f"broker.yaml:{place}: ") and said in f], told


# --- the schema ---


def test_the_schema_file_is_fresh() -> None:
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == settings.json_schema(), (
        "config/broker.schema.json is not what the code says. Run: broker schema settings > config/broker.schema.json"
    )


def test_the_schema_knows_every_option_of_every_adapter() -> None:
    schema = settings.json_schema()
    entries = schema["properties"]["inbound"]["additionalProperties"]["oneOf"]
    by_name = {entry["title"]: entry for entry in entries}

    assert set(by_name) == {
        "availability",
        "commitment",
        "lab",
        "modality",
        "mpps",
        "pacs",
        "pas",
        "patient-root",
        "pdq",
        "ris",
    }
    assert by_name["pas"]["properties"]["adapter"] == {"const": "pas"}
    assert "order_status" in by_name["ris"]["properties"]
    assert by_name["pas"]["additionalProperties"] is False
    for entry in entries:
        for name, option in entry["properties"].items():
            assert name == "adapter" or option.get("description"), (
                f"{entry['title']}.{name} needs a description"
            )


def test_every_key_of_the_shipped_file_is_in_the_schema() -> None:
    """The file is what people copy from: an editor must not underline it."""
    schema = settings.json_schema()
    shipped = yaml.safe_load(CONFIG.read_text())
    assert set(shipped) <= set(schema["properties"])
    for section in ("inbound", "outbound"):
        choices = schema["properties"][section]["additionalProperties"]["oneOf"]
        known = {c["properties"]["adapter"]["const"]: c["properties"] for c in choices}
        for name, entry in shipped[section].items():
            assert set(entry) <= set(known[entry["adapter"]]), name
