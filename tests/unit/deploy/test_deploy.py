"""deploy/ says what the code says: ports, versions, metric names, files. No other program is needed for this."""

from __future__ import annotations

import configparser
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import broker
from broker import settings
from broker.runtime.configured import configure
from broker.runtime.roles import EVERY
from broker.telemetry import METRICS
from tests.support.shared import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
CONTAINERFILE = (DEPLOY / "container" / "Containerfile").read_text(encoding="utf-8")
KUBERNETES = DEPLOY / "kubernetes"
CLUSTER = DEPLOY / "kubernetes-cluster"
HAPROXY = (DEPLOY / "haproxy" / "haproxy.cfg").read_text(encoding="utf-8")
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "broker.json").read_text(encoding="utf-8"))
OPERATIONS = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")

# What Prometheus adds (prometheus.yaml); everything else on a series is a label of `broker.telemetry`.
OUTER_LABELS = {"job", "instance", "broker"}


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def rules() -> list[dict[str, Any]]:
    (group,) = read(DEPLOY / "prometheus" / "broker.rules.yaml")["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def expressions() -> list[str]:
    shown = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
    return shown + [rule["expr"] for rule in rules()]


def listening() -> set[int]:
    """The ports of the shipped settings, with nothing in the environment."""
    image = dict(re.findall(r"^    (BROKER_PDQ_PORT)=(\d+)$", CONTAINERFILE, re.MULTILINE))
    shipped = settings.load(REPOSITORY / "config" / "broker.yaml", env=image)
    own = {shipped.broker.dicom.port, shipped.broker.http.port}
    return own | {s.config.port for s in shipped.inbound if hasattr(s.config, "port")}


def compose(name: str) -> dict[str, Any]:
    found: dict[str, Any] = read(DEPLOY / "container" / name)
    return found


def nodes() -> dict[str, dict[str, Any]]:
    """The compose file's nodes by name."""
    services: dict[str, dict[str, Any]] = compose("cluster.yaml")["services"]
    return {name: service for name, service in services.items() if "hl7-dicom-broker" in service["image"]}


def role_of(command: list[str]) -> str:
    """What `broker run --role <role>` says."""
    assert command[:3] == ["broker", "run", "--role"]
    (role,) = command[3:]
    return role


def values(tree: Any, key: str) -> Iterator[Any]:
    """Every value under this key, wherever it stands."""
    for name, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if name == key:
            yield value
        if isinstance(value, dict | list):
            yield from values(value, key)


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*.yaml")), ids=lambda path: path.name)
def test_every_yaml_file_can_be_read(path: Path) -> None:
    assert read(path)


@pytest.mark.parametrize("expr", expressions())
def test_every_metric_that_is_asked_for_exists(expr: str) -> None:
    names = set(re.findall(r"\bbroker_[a-z_]+", expr))

    assert names <= METRICS.keys()
    assert names or "up{" in expr


@pytest.mark.parametrize("expr", expressions())
def test_every_label_that_is_asked_for_exists(expr: str) -> None:
    known = OUTER_LABELS.union(*(METRICS[n].labels for n in re.findall(r"\bbroker_[a-z_]+", expr)))
    asked = set(re.findall(r"(\w+) *(?:=~|!=|=)\"", expr))
    for grouped in re.findall(r"\bby \(([^)]*)\)", expr):
        asked |= set(grouped.split(", "))

    assert asked <= known


def test_the_dashboard_shows_every_metric() -> None:
    shown = {name for expr in expressions() for name in re.findall(r"\bbroker_[a-z_]+", expr)}

    assert METRICS.keys() <= shown


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_every_alert_waits_and_has_its_paragraph(rule: dict[str, Any]) -> None:
    assert {"for", "keep_firing_for"} & rule.keys(), "a flicker must not be an alert and its end"
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert f"\n### {rule['alert']}\n" in OPERATIONS
    assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"


def test_no_alert_is_described_that_is_gone() -> None:
    described = set(re.findall(r"^### (Broker\w+)$", OPERATIONS, re.MULTILINE))

    assert described == {rule["alert"] for rule in rules()}


def test_the_end_of_an_alert_is_sent_too() -> None:
    configs = read(DEPLOY / "prometheus" / "alertmanager.yaml")["receivers"][0]["webhook_configs"]

    assert [config["send_resolved"] for config in configs] == [True]


def test_every_port_of_the_settings_is_opened_everywhere_and_no_other() -> None:
    ports = listening()
    exposed = re.search(r"^EXPOSE (.*)$", CONTAINERFILE, re.MULTILINE)
    assert exposed is not None
    published = compose("compose.yaml")["services"]["broker"]["ports"]
    (container,) = read(KUBERNETES / "statefulset.yaml")["spec"]["template"]["spec"]["containers"]
    service = read(KUBERNETES / "service.yaml")["spec"]["ports"]

    assert {int(port) for port in exposed[1].split()} == ports
    assert {int(port.rpartition(":")[2]) for port in published} == ports
    assert {port["containerPort"] for port in container["ports"]} == ports
    assert {port["port"] for port in service} == ports
    named = {port["name"] for port in container["ports"]}
    assert {port["targetPort"] for port in service} == named
    opened = read(KUBERNETES / "network.yaml")["spec"]["ingress"]
    assert {port["port"] for rule in opened for port in rule["ports"]} == named


def test_images_are_named_with_a_version() -> None:
    images = re.findall(r"^FROM (\S+)", CONTAINERFILE, re.MULTILINE)
    images += values(compose("compose.yaml"), "image")
    images += values(compose("cluster.yaml"), "image")

    assert len(images) >= 6
    for image in images:
        assert re.search(r":\d+\.[\w.-]+|:\d+-\w+", image), f"{image} is not pinned"


def test_the_image_is_this_version() -> None:
    (image,) = read(KUBERNETES / "kustomization.yaml")["images"]
    single = compose("compose.yaml")["services"]["broker"]

    assert image["newTag"] == broker.__version__
    assert single["image"] == f"{image['name']}:{broker.__version__}"
    assert {node["image"] for node in nodes().values()} == {single["image"]}
    assert f"-t {single['image']} " in CONTAINERFILE


def test_the_image_installs_only_what_is_locked_and_runs_as_nobody_special() -> None:
    build, _, final = CONTAINERFILE.rpartition("\nFROM ")

    assert "--require-hashes --only-binary :all:" in build
    assert "pip install" not in final
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", final, re.MULTILINE)
    for line in ("STOPSIGNAL SIGTERM", "HEALTHCHECK ", "VOLUME /var/lib/broker"):
        assert f"\n{line}" in final
    assert "/healthz" in final


def test_what_builds_the_package_leaves_the_image() -> None:
    locked = set(re.findall(r"^([a-z0-9-]+)==", (REPOSITORY / "requirements.lock").read_text(), re.MULTILINE))
    removed = {name for line in re.findall(r"pip uninstall --yes (.*?)(?: \\)?$", CONTAINERFILE, re.MULTILINE)
               for name in line.split()}  # fmt: skip

    assert {"hatchling", "pathspec", "pluggy", "trove-classifiers"} <= removed & locked


def test_the_config_maps_are_a_configuration_that_starts(tmp_path: Path) -> None:
    """The folders as a pod sees them: each ConfigMap's files, and what `items` puts elsewhere."""
    maps = {m["name"]: m["files"] for m in read(KUBERNETES / "kustomization.yaml")["configMapGenerator"]}
    volumes = read(KUBERNETES / "statefulset.yaml")["spec"]["template"]["spec"]["volumes"]
    for volume in volumes:
        sources = volume.get("projected", {}).get("sources", [volume])
        for config_map in [source["configMap"] for source in sources if "configMap" in source]:
            places = {item["key"]: item["path"] for item in config_map.get("items", ())}
            for name in maps.pop(config_map["name"]):
                file = KUBERNETES / name
                target = tmp_path / volume["name"] / (places.pop(file.name) if places else file.name)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, target)
            assert places == {}
    assert maps == {}

    configured = configure(settings.load(tmp_path / "config" / "broker.yaml", env={}), {})

    assert len(configured.routes.routes) == len(list((REPOSITORY / "routes").glob("*.yaml")))


def test_the_manifests_belong_together() -> None:
    names = read(KUBERNETES / "kustomization.yaml")["resources"]
    found = {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml"}
    pod = read(KUBERNETES / "statefulset.yaml")["spec"]["template"]["spec"]
    (container,) = pod["containers"]

    assert set(names) == found
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert pod["terminationGracePeriodSeconds"] > 10
    assert pod["enableServiceLinks"] is False, "BROKER_PORT and the like would come from the Service"
    assert all(read(KUBERNETES / name)["metadata"]["name"] == "broker" for name in names)


def test_a_cluster_of_containers_has_two_nodes_of_each_role_and_each_has_a_name_of_its_own() -> None:
    found = nodes()
    roles = Counter(role_of(node["command"]) for node in found.values())
    data = {name: node["volumes"][0] for name, node in found.items()}
    volumes = compose("cluster.yaml")["volumes"]

    assert roles == dict.fromkeys(EVERY, 2)
    assert all(node["hostname"] == name for name, node in found.items())
    assert data == {name: f"{name}:/var/lib/broker" for name in found}
    spool = {node["environment"]["BROKER_SPOOL"] for node in found.values()}
    assert all(node["volumes"][1] == f"spool:{folder}" for node in found.values() for folder in spool)
    assert all(f" {folder}" in CONTAINERFILE for folder in spool), "else the volume would be root's"
    assert {*found, "spool"} <= volumes.keys()


def test_what_settings_every_node_of_a_cluster_gets_is_known() -> None:
    asked = set(re.findall(r"\$\{env:(\w+)", (REPOSITORY / "config" / "broker.yaml").read_text()))
    container = read(CLUSTER / "node" / "statefulset.yaml")["spec"]["template"]["spec"]["containers"][0]
    told = [set(node["environment"]) for node in nodes().values()] + [{e["name"] for e in container["env"]}]

    for names in told:
        assert {"BROKER_STORE", "BROKER_BUS", "BROKER_EXECUTOR", "BROKER_SPOOL"} <= names <= asked


def test_the_balancer_knows_every_node_that_listens() -> None:
    listeners = dict(re.findall(r"^listen (\w+)\n    bind :(\d+)$", HAPROXY, re.MULTILINE))
    servers = re.findall(r"^    server (\S+) (\S+):(\d+)$", HAPROXY, re.MULTILINE)
    published = compose("cluster.yaml")["services"]["haproxy"]["ports"]
    expected = {name for name, node in nodes().items() if role_of(node["command"]) in ("intake", "worklist")}
    http = settings.load(REPOSITORY / "config" / "broker.yaml", env={}).broker.http.port

    assert {name for name, _, _ in servers} == {host for _, host, _ in servers} == expected
    assert {int(port) for _, _, port in servers} == listening() - {http}
    assert {f"{port}:{port}" for port in listeners.values()} == set(published)
    assert f"check port {http} " in HAPROXY
    assert "option httpchk GET /readyz" in HAPROXY


def test_the_overlay_has_every_role_and_only_ports_that_exist() -> None:
    roles = set(read(CLUSTER / "kustomization.yaml")["resources"]) - {"spool.yaml"}
    (container,) = read(KUBERNETES / "statefulset.yaml")["spec"]["template"]["spec"]["containers"]
    named = {port["name"] for port in container["ports"]}

    assert roles == EVERY
    for role in roles:
        overlay = read(CLUSTER / role / "kustomization.yaml")
        patched = [yaml.safe_load(patch["patch"]) for patch in overlay["patches"] if "patch" in patch]
        (command,) = [command for patch in patched for command in values(patch, "command")]
        opened = set(values(read(CLUSTER / role / "network.yaml")["spec"]["ingress"], "port"))
        assert (role_of(command), overlay["nameSuffix"]) == (role, f"-{role}")
        assert overlay["labels"][0]["includeSelectors"] is True, "else a Service would find every role"
        assert "http" in opened <= named
    assert read(CLUSTER / "node" / "disruption.yaml")["spec"] == {"maxUnavailable": 1}


@pytest.mark.parametrize("name", ["broker.service", "broker@.service", "broker-backup.service"])
def test_a_unit_is_confined(name: str) -> None:
    unit = configparser.RawConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[method-assign, assignment]
    unit.read(DEPLOY / "systemd" / name)
    service = dict(unit["Service"])

    expected = {
        "User": "broker",
        "ProtectSystem": "strict",
        "NoNewPrivileges": "yes",
        "StateDirectory": "broker",
    }
    assert expected.items() <= service.items()
    assert (service["StateDirectoryMode"], service["UMask"]) == ("0700", "0077")
    if "backup" not in name:
        assert (service["Restart"], service["TimeoutStopSec"]) == ("on-failure", "15")
        assert int(service["LimitNOFILE"]) >= 4096
