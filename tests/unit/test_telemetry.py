from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from broker.telemetry import METRICS, Telemetry, age
from tests.support.shared import REPOSITORY

SECRET = "Sørby 30908299902"


def telemetry(*gauges: tuple[str, Mapping[str, str], float]) -> Telemetry:
    return Telemetry(lambda: gauges)


# --- metrics ---


def test_every_counter_can_be_counted() -> None:
    made = telemetry()
    for name, metric in METRICS.items():
        if metric.kind == "counter":
            made.count(name, dict.fromkeys(metric.labels, "x"))
            made.count(name, dict.fromkeys(metric.labels, "x"))
    page = made.page().decode()

    for name, metric in METRICS.items():
        if metric.kind == "counter":
            labels = ",".join(f'{label}="x"' for label in metric.labels)
            assert f"{name}{f'{{{labels}}}' if labels else ''} 2.0\n" in page


def test_every_gauge_can_be_collected() -> None:
    given = [
        (name, dict.fromkeys(metric.labels, "x"), 7.0)
        for name, metric in METRICS.items()
        if metric.kind == "gauge"
    ]
    page = telemetry(*given).page().decode()

    for name, labels, _ in given:
        shown = ",".join(f'{label}="x"' for label in labels)
        assert f"{name}{{{shown}}} 7.0\n" in page or f"{name} 7.0\n" in page


def test_names_and_help_follow_the_rules_of_prometheus() -> None:
    for name, metric in METRICS.items():
        assert re.fullmatch(r"broker_[a-z_]+", name)
        assert name.endswith("_total") == (metric.kind == "counter")
        assert metric.help.endswith(".")


def test_every_metric_is_used_somewhere_and_every_used_name_is_in_the_table() -> None:
    code = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("broker", "adapters")
        for path in REPOSITORY.glob(f"{folder}/**/*.py")
        if path.name != "telemetry.py"
    )
    used = set(re.findall(r'"(broker_[a-z_]+)"', code))

    assert used == set(METRICS)


def test_gauges_are_read_at_each_scrape() -> None:
    values: Iterable[float] = iter([1.0, 2.0])
    made = Telemetry(lambda: [("broker_events_waiting", {}, next(values))])  # type: ignore[call-overload]

    assert b"broker_events_waiting 1.0" in made.page()
    assert b"broker_events_waiting 2.0" in made.page()


def test_a_name_or_a_label_that_is_not_in_the_table_is_an_error() -> None:
    made = telemetry()
    with pytest.raises(KeyError):
        made.count("broker_surprises_total", {})
    with pytest.raises(ValueError, match="label"):
        made.count("broker_deliveries_total", {"patient": "x"})


def test_two_brokers_in_one_process_count_apart() -> None:
    one, other = telemetry(), telemetry()
    one.count("broker_worklist_queries_total", {"calling_aet": "CT1"})

    assert b"CT1" not in other.page()


def test_age_is_never_negative() -> None:
    now = datetime(2026, 3, 9, 8, tzinfo=UTC)

    assert age((now - timedelta(seconds=90)).isoformat(), now) == 90
    assert age((now + timedelta(seconds=90)).isoformat(), now) == 0


# --- logs ---

SCRIPT = f"""
import asyncio, logging, threading, warnings
import structlog
from broker.telemetry import configure_logging

SECRET = {SECRET!r}
configure_logging()
log, library = structlog.get_logger("broker.test"), logging.getLogger("library")

log.info("a line", destination="epj", number=3)
library.warning("library says %s", "hello")
library.debug("not told")

class Quoting(Exception):
    pass

def fail():
    try:
        {{}}[SECRET]
    except KeyError as exc:
        raise Quoting(f"cannot take {{SECRET}}") from exc

try:
    fail()
except Exception as exc:
    log.exception("it failed", event_id="M1")
    log.error("it failed", exc_info=exc)
    log.warning("it failed", exc_info=(type(exc), exc, exc.__traceback__))
    library.exception("it failed")
    library.exception(exc)
    library.error(f"it failed: {{exc}}", exc_info=exc)

async def forgotten():
    async def task():
        fail()
    held = asyncio.create_task(task())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del held
asyncio.run(forgotten())

thread = threading.Thread(target=fail, name="worker-1")
thread.start()
thread.join()

warnings.warn(f"odd value {{SECRET}}")
log.info("nothing is wrong", exc_info=False)
log.info("no exception here", exc_info=True)
"""


@pytest.fixture(scope="module")
def lines() -> list[dict[str, Any]]:
    """What a program that logs all sorts of failures leaves on standard error."""
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", SCRIPT],
        cwd=REPOSITORY,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert done.stdout == "", "standard output belongs to the commands"
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_every_line_is_one_json_object_with_level_logger_and_time(lines: list[dict[str, Any]]) -> None:
    assert len(lines) == 13
    for line in lines:
        assert {"event", "level", "logger", "timestamp"} <= set(line)
        assert datetime.fromisoformat(line["timestamp"]).utcoffset() == timedelta(0)
    assert {k: v for k, v in lines[0].items() if k != "timestamp"} == {
        "event": "a line",
        "level": "info",
        "logger": "broker.test",
        "destination": "epj",
        "number": 3,
    }
    assert (lines[1]["event"], lines[1]["logger"], lines[1]["level"]) == (
        "library says hello",
        "library",
        "warning",
    )


def test_the_text_of_an_exception_is_in_no_line(lines: list[dict[str, Any]]) -> None:
    for line in lines:
        told = json.dumps(line, ensure_ascii=False)
        assert "30908299902" not in told
        assert "rby" not in told
        assert "cannot take" not in told


def test_the_place_and_the_kind_of_an_exception_are(lines: list[dict[str, Any]]) -> None:
    raised = [line for line in lines if line.get("exception") == "Quoting"]

    assert len(raised) == 8, "three of ours, three of a library, a task, a thread"
    for line in raised:
        assert re.fullmatch(r"<string>:\d+ fail", line["at"][-1])
    assert raised[0]["event_id"] == "M1"
    assert {line["event"] for line in raised[:4]} == {"it failed"}


def test_a_thread_that_ended_and_a_warning_are_told_as_lines(lines: list[dict[str, Any]]) -> None:
    (ended,) = [line for line in lines if line["event"] == "a thread ended by an exception"]
    (warned,) = [line for line in lines if line["event"] == "a library warns"]

    assert (ended["thread"], ended["exception"]) == ("worker-1", "Quoting")
    assert (warned["category"], warned["level"]) == ("UserWarning", "warning")
    assert re.fullmatch(r"<string>:\d+", warned["at"][0])
