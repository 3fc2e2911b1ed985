"""What is in `deploy/` as the programs read it that it is for: Prometheus, systemd, kustomize, HAProxy."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker.runtime.roles import EVERY
from tests.support.needs import find_program, needs
from tests.support.shared import REPOSITORY

pytestmark = pytest.mark.integration

DEPLOY = REPOSITORY / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
SYSTEMD = DEPLOY / "systemd"


def program(name: str) -> str:
    """Part of some machines, and of no Debian package that a test machine could do with: without it, a skip."""
    return find_program(name) or pytest.skip(f"{name} is not installed")


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), capture_output=True, encoding="utf-8", check=False)


def test_the_alert_rules_start_and_end_when_they_should(tmp_path: Path) -> None:
    promtool = needs("promtool")

    assert run(promtool, "check", "config", PROMETHEUS / "prometheus.yaml").returncode == 0
    finished = run(promtool, "test", "rules", PROMETHEUS / "broker.rules.test.yaml")
    assert finished.returncode == 0, finished.stdout + finished.stderr

    # And the tests see the rules: without its `for`, a flicker is an alert.
    shutil.copytree(PROMETHEUS, tmp_path, dirs_exist_ok=True)
    rules = tmp_path / "broker.rules.yaml"
    rules.write_text(rules.read_text(encoding="utf-8").replace("        for: 1m\n", ""), encoding="utf-8")
    assert run(promtool, "test", "rules", tmp_path / "broker.rules.test.yaml").returncode == 1


def test_alertmanager_reads_its_configuration() -> None:
    finished = run(needs("amtool"), "check-config", PROMETHEUS / "alertmanager.yaml")

    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_systemd_reads_the_units(tmp_path: Path) -> None:
    analyze = program("systemd-analyze")
    for unit in SYSTEMD.iterdir():
        # The broker is not installed where the unit says: whatever is there stands for it.
        text = unit.read_text(encoding="utf-8").replace("/opt/broker/venv/bin/broker", "/bin/true")
        # A template is read as one of its instances.
        (tmp_path / unit.name.replace("@.", "@router.")).write_text(text, encoding="utf-8")

    finished = run(analyze, "verify", "--man=no", *sorted(tmp_path.iterdir()))

    assert (finished.returncode, finished.stderr) == (0, "")


def test_kustomize_makes_a_set_of_pods_and_a_service_for_each_role() -> None:
    kubectl = program("kubectl")

    def made(folder: str) -> dict[tuple[str, str], Any]:
        finished = run(kubectl, "kustomize", "--load-restrictor", "LoadRestrictionsNone", DEPLOY / folder)
        assert finished.returncode == 0, finished.stderr
        return {(m["kind"], m["metadata"]["name"]): m for m in yaml.safe_load_all(finished.stdout)}

    single, cluster = made("kubernetes"), made("kubernetes-cluster")

    assert ("StatefulSet", "broker") in single
    for role in EVERY:
        pods = cluster["StatefulSet", f"broker-{role}"]["spec"]
        labels = pods["template"]["metadata"]["labels"]
        (container,) = pods["template"]["spec"]["containers"]
        assert container["command"][-1] == role
        assert (pods["serviceName"], pods["replicas"]) == (f"broker-{role}", 2)
        for kind, selector in (("Service", "selector"), ("PodDisruptionBudget", "selector")):
            chosen = cluster[kind, f"broker-{role}"]["spec"][selector]
            assert (chosen.get("matchLabels") or chosen).items() <= labels.items()
            assert labels["app.kubernetes.io/component"] == role
        spool = {v["name"]: v for v in pods["template"]["spec"]["volumes"]}["spool"]
        assert ("PersistentVolumeClaim", spool["persistentVolumeClaim"]["claimName"]) in cluster


def test_haproxy_reads_its_configuration(tmp_path: Path) -> None:
    haproxy = needs("haproxy")
    text = (DEPLOY / "haproxy" / "haproxy.cfg").read_text(encoding="utf-8")
    here = tmp_path / "haproxy.cfg"  # where no such names are known
    here.write_text(re.sub(r"(server \S+) [a-z]+-\d:", r"\1 127.0.0.1:", text), encoding="utf-8")

    finished = run(haproxy, "-c", "-f", here)

    assert finished.returncode == 0, finished.stderr
    assert "[WARNING]" not in finished.stderr
