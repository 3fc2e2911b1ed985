"""The `broker` command: nouns and verbs, each in a module of its own, loaded only when it is called."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import rich_click as click

from broker import __version__
from broker.errors import BrokerError, ConfigError, did_you_mean

COMMANDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "run": "Start the broker.",
        "check": "Read settings, tables and routes; say what is wrong, and where.",
        "test": "Run the tests that stand in the route files.",
        "doctor": "Look at ports, disk, journal, bus, clock, versions, AE titles and destinations.",
        "plan": "Show what the folder's routes would change: files, deliveries, rows, past traffic.",
        "apply": "Make the folder's routes the live ones, on all nodes at once, or change nothing.",
        "routes": "Route sets that were live: list, show, roll back; and writing a new route.",
        "explain": "Show what a message would come to; nothing is sent.",
        "send": "Send an HL7 message to a listener and show its answer.",
        "trace": "Show the timeline of a message, an accession number or a Study UID.",
        "why": "Say why a row is, or is not, on a list; where a value came from; why a delivery.",
        "tap": "Watch messages, events and deliveries as they pass, without patient data.",
        "status": "Show what came in, what waits, and what a person must look at.",
        "exceptions": "What a person must look at: list it, and close what was seen to.",
        "parked": "Deliveries that wait for a person: list, show, edit, release, drop.",
        "replay": "Send again what was delivered, or take messages in again.",
        "reconcile": "Account for every message, rebuild the registers, ask an archive what it has.",
        "retention": "What the journal still remembers of each day.",
        "backup": "Copy journal and objects to a new folder while the broker runs.",
        "audit": "Who looked at what passes, when and why.",
        "bus": "How far events were published, and publishing them again.",
        "codes": "Code tables: what is in them, where they are used, which codes they lack.",
        "patients": "Who a patient is here; what merges changed, and undoing a wrong one.",
        "worklist": "Rows that modalities see.",
        "studies": "What is here of each study, and which archive keeps it.",
        "graph": "Draw listeners, events, routes and destinations, with what waits.",
        "simulate": "Play the systems around a broker: a whole region with a score, or one of them.",
        "adapters": "Adapters: those that are installed, and writing a new one.",
        "devices": "Devices: those that the configuration knows, and adding one.",
        "conformance": "The DICOM, HL7 and IHE statements of this configuration.",
        "schema": "JSON Schemas of settings, routes and events.",
        "docs": "Write the reference pages and schemas anew from the code.",
    }
)


class Lazy(click.RichGroup):
    """Imports a command's module when the command is called, so that `--help` and completion are quick."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return super().get_command(ctx, name)
        module = importlib.import_module(f"broker.cli.{name}")
        command: click.Command = module.command
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, text in COMMANDS.items()])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            hint = did_you_mean(args[0], COMMANDS)
            raise click.UsageError(f"there is no command '{args[0]}'. {hint}".strip(), ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="broker")
def broker() -> None:
    """HL7/DICOM integration broker: ADT, orders, worklists, images and results through one journal."""
    from broker.telemetry import configure_logging

    configure_logging(level=logging.WARNING)  # standard output belongs to the command's result


def main() -> None:
    """Entry point. Errors of configuration end with 2, any other known error with 1; none shows a traceback."""
    try:
        broker(standalone_mode=True)
    except ConfigError as exc:
        click.echo(f"broker: {exc}", err=True)
        raise SystemExit(2) from None
    except BrokerError as exc:
        click.echo(f"broker: {exc}", err=True)
        raise SystemExit(1) from None
