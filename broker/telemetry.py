"""Metrics and logs: every metric name in one table, every log line as one JSON object without patient data.

Labels come from the settings (listeners, destinations, known AE titles) and from fixed words, never from messages.
"""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

import structlog
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

log = structlog.get_logger("broker.telemetry")


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """One metric."""

    help: str
    labels: tuple[str, ...] = ()
    kind: str = "counter"


METRICS: Final[Mapping[str, Name]] = MappingProxyType(
    {
        "broker_messages_received_total": Name(
            help="Messages received, by listener and verdict (accepted, filtered, rejected, repeat, junk).",
            labels=("source", "verdict"),
        ),
        "broker_messages_turned_away_total": Name(
            help="Messages and objects answered AR, CE or A700 because they could not be kept: in no journal, the"
            " sender has them still.",
            labels=("protocol",),
        ),
        "broker_messages_garbled_total": Name(
            help="Messages and objects with UTF-8 that was read as Latin-1 before they came (BjÃ¸rn), by listener.",
            labels=("source",),
        ),
        "broker_identifier_flags_total": Name(
            help="Messages and objects by what was remarked of their identifiers: check-digit, synthetic-number …"
            " (docs/identifiers.md).",
            labels=("flag", "source"),
        ),
        "broker_deliveries_total": Name(
            help="Attempts to deliver, by outcome (delivered, refused, failed, unreachable, ask, parked).",
            labels=("destination", "outcome"),
        ),
        "broker_wakeups_unanswered_total": Name(
            help="Times that the leader asked again for a destination to be delivered to, because no node did.",
            labels=("destination",),
        ),
        "broker_worklist_limited_total": Name(
            help="Worklist queries that more rows matched than the device may be answered with (`max_answers`), by"
            " calling AE title where the settings name it, else `other`.",
            labels=("calling_aet",),
        ),
        "broker_worklist_lossy_total": Name(
            help="Rows in which a device was shown other letters than the patient's, or a name cut short, by calling AE"
            " title where the settings name it, else `other`.",
            labels=("calling_aet",),
        ),
        "broker_worklist_queries_total": Name(
            help="Worklist queries, by calling AE title where the settings name it, else `other`.",
            labels=("calling_aet",),
        ),
        "broker_patient_queries_total": Name(
            help="Questions who a patient is, by listener and outcome (found, none, refused, cancelled).",
            labels=("outcome", "source"),
        ),
        "broker_patient_answers_lossy_total": Name(
            help="Answers to them in which the asker's character set could not show every letter.",
            labels=("source",),
        ),
        "broker_patient_feed_age_seconds": Name(
            help="Time since the last message that says who a patient is (PAS): answers to queries may be as old.",
            kind="gauge",
        ),
        "broker_messages_stored": Name(
            help="Messages in the journal, by listener and verdict.",
            labels=("source", "verdict"),
            kind="gauge",
        ),
        "broker_events_waiting": Name(help="Events that no route has seen yet.", kind="gauge"),
        "broker_deliveries_queued": Name(
            help="Deliveries that still have to leave.", labels=("destination",), kind="gauge"
        ),
        "broker_deliveries_held": Name(
            help="Outputs that could not be made and wait for a person.",
            labels=("destination",),
            kind="gauge",
        ),
        "broker_deliveries_parked": Name(
            help="Deliveries that wait for a person and hold their patient's lane.",
            labels=("destination",),
            kind="gauge",
        ),
        "broker_deliveries_lossy": Name(
            help="Deliveries with other letters than the text has, because the destination's character sets lack them,"
            " or with a name cut short.",
            labels=("destination",),
            kind="gauge",
        ),
        "broker_deliveries_withheld": Name(
            help="Outputs that policy keeps back.", labels=("destination",), kind="gauge"
        ),
        "broker_destination_paused": Name(
            help="1 while a destination is not sent to because it does not answer.",
            labels=("destination",),
            kind="gauge",
        ),
        "broker_delivery_oldest_seconds": Name(
            help="Age of the oldest delivery that still has to leave.", labels=("destination",), kind="gauge"
        ),
        "broker_studies_receiving": Name(help="Studies of which more is awaited.", kind="gauge"),
        "broker_commitment_requests_waiting": Name(
            help="Requests of devices for storage commitment that are not reported on yet.", kind="gauge"
        ),
        "broker_objects_uncommitted": Name(
            help="Objects that an archive took and has not committed to, of those that are asked to commit.",
            labels=("archive",),
            kind="gauge",
        ),
        "broker_objects_freed_total": Name(
            help="Files of objects that were given up, because archives have committed to them."
        ),
        "broker_exceptions": Name(
            help="Things a person must look at (`broker status`).", labels=("kind",), kind="gauge"
        ),
        "broker_ready": Name(
            help="1 while `/readyz` says so: every listener is open, the disk has room, the journal can be"
            " written.",
            kind="gauge",
        ),
        "broker_leader": Name(
            help="1 on the node that routes; over all nodes the sum must be 1.", kind="gauge"
        ),
        "broker_disk_free_bytes": Name(
            help="What is free on the disk of `data` or `spool`, whichever has less; below `limits.min_free` new"
            " messages are refused.",
            kind="gauge",
        ),
        "broker_routes_live": Name(
            help="Number of the route set by which this process goes (`broker routes list`); 0: none.",
            kind="gauge",
        ),
        "broker_routes_fault": Name(
            help="1 while the live route set cannot be used by this process, which stays on the one before.",
            kind="gauge",
        ),
        "broker_bus_published_total": Name(help="Events that the bus confirmed, repeats included."),
        "broker_bus_connected": Name(
            help="1 while the bus answers; not there with `memory://`.", kind="gauge"
        ),
        "broker_bus_lag_events": Name(help="Events that were not published yet.", kind="gauge"),
    }
)

Gauges = Callable[[], Iterable[tuple[str, Mapping[str, str], float]]]
"""Read at each scrape: (metric, labels, value)."""


class Telemetry:
    """The counters of one broker, and the gauges that are read from the journal when somebody asks."""

    def __init__(self, gauges: Gauges) -> None:
        self._registry = CollectorRegistry()
        self._counters = {
            name: Counter(name.removesuffix("_total"), m.help, m.labels, registry=self._registry)
            for name, m in METRICS.items()
            if m.kind == "counter"
        }
        self._registry.register(_Gauges(gauges))

    def count(self, name: str, labels: Mapping[str, str] = MappingProxyType({}), number: int = 1) -> None:
        """Adds one, or so many."""
        counter = self._counters[name]
        (counter.labels(**labels) if labels else counter).inc(number)

    def page(self) -> bytes:
        """The metrics as Prometheus reads them."""
        return generate_latest(self._registry)


class _Gauges(Collector):
    def __init__(self, read: Gauges) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        families = {
            name: GaugeMetricFamily(name, m.help, labels=m.labels)
            for name, m in METRICS.items()
            if m.kind == "gauge"
        }
        for name, labels, value in self._read():
            families[name].add_metric([labels[label] for label in METRICS[name].labels], value)
        return families.values()


def configure_logging(*, level: int = logging.INFO) -> None:
    """Sends structlog's and the libraries' lines to standard error, one JSON object each."""
    shared: list[structlog.types.Processor] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _without_values,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
            foreign_pre_chain=shared,
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)
    warnings.showwarning = _warned
    threading.excepthook = _thread_ended


def _without_values(_logger: Any, _method: str, line: Any) -> Any:
    """A traceback's place without its text: foreign exceptions quote what they were given."""
    info = line.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    if isinstance(info, BaseException):
        info = (type(info), info, info.__traceback__)
    if isinstance(info, tuple) and info[0] is not None:
        places, trace = [], info[2]
        while trace is not None:
            code = trace.tb_frame.f_code
            places.append(f"{code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno} {code.co_name}")
            trace = trace.tb_next
        line["exception"] = info[0].__name__
        line["at"] = places[-8:]
        if not line.get("_from_structlog", True):
            line["event"] = _without_text(str(line["event"]), info[1])
    return line


def _without_text(event: str, exc: BaseException | None) -> str:
    """A library's line beside its exception: some put the exception's text into it, asyncio on a second line."""
    first = event.partition("\n")[0]
    return "exception in a library" if exc is None or str(exc) in first else first


def _warned(
    message: Warning | str,  # noqa: ARG001 - pydicom's warnings quote the value that they warn of
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,  # noqa: ARG001 - the signature of warnings.showwarning
    line: str | None = None,  # noqa: ARG001
) -> None:
    log.warning("a library warns", category=category.__name__, at=[f"{filename.rsplit('/', 1)[-1]}:{lineno}"])


def _thread_ended(args: threading.ExceptHookArgs) -> None:
    name = args.thread.name if args.thread is not None else ""
    log.error("a thread ended by an exception", thread=name, exc_info=args.exc_value)


def age(since: str, now: datetime) -> float:
    """Seconds since an ISO 8601 time."""
    return max(0.0, (now - datetime.fromisoformat(since)).total_seconds())
