"""`broker run`: starts the broker, or a node of a cluster, and keeps it until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import rich_click as click
import structlog

from broker.cli.options import config_option, load_settings, role_option
from broker.errors import BrokerError
from broker.runtime.broker import Broker
from broker.runtime.inforce import configured_to_start
from broker.runtime.roles import Role
from broker.telemetry import configure_logging

log = structlog.get_logger("broker")

STOP_SECONDS: Final = 9.0
"""What a stop may take. Its last steps wait for the journal, and a server that hangs, or is cut off, never answers."""


@click.command("run")
@config_option
@role_option("Only this part of a cluster")
def command(config: Path, roles: frozenset[Role]) -> None:
    """Start the broker: every listener, the router, the lanes and the HTTP pages.

    Prints each address it listens on, then `ready`. SIGTERM or Ctrl-C stops it: what was acknowledged is in the
    journal, and the next start goes on from there.

    Examples:  broker run    ·    BROKER_DATA=/var/lib/broker broker run --config /etc/broker/broker.yaml
    ·    broker run --role intake --role worklist
    """
    configure_logging()
    broker = Broker(configured_to_start(load_settings(config), os.environ), lambda: datetime.now(UTC), roles)
    try:
        code = asyncio.run(_run(broker))
    except OSError as exc:
        raise BrokerError(f"the broker cannot run: {exc.strerror or type(exc).__name__}") from exc
    # A lane may be inside a destination that does not answer; its delivery is in the journal, so it need not end.
    os._exit(code) if code is not None else None


async def _run(broker: Broker) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        await broker.start()
    except BaseException:
        await broker.stop()
        raise
    # What a start made stays: a collection that goes through all of it holds up every thread for 50 ms.
    gc.collect()
    gc.freeze()
    for address in broker.addresses():
        click.echo(f"listening on {address}")
    click.echo("ready")
    await stopping.wait()
    click.echo("stopping")
    late = threading.Timer(STOP_SECONDS, _give_up)
    late.daemon = True
    late.start()
    await broker.stop()
    late.cancel()
    return 0


def _give_up() -> None:
    """Ends at once: what was acknowledged is in the journal, and leases of this node run out."""
    log.warning("stopped without the last steps: the journal does not answer", waited_seconds=STOP_SECONDS)
    os._exit(0)
