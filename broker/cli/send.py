"""`broker send`: a message file to a listener over MLLP, with its answer."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from broker.cli.options import config_option, format_option, load_settings, print_json
from broker.errors import ConfigError
from broker.hl7.ack import Acknowledgement, read_acks
from broker.hl7.er7 import is_batch
from broker.net.mllp_client import MllpClient


@click.command("send")
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--to", "listener", default="pas", show_default=True, help="Listener of the settings.")
@click.option("--host", help="Send to this host instead.")
@click.option("--port", type=click.IntRange(1, 65535), help="Send to this port instead.")
@click.option("--timeout", type=float, default=30.0, show_default=True, help="Seconds to wait for an answer.")
@config_option
@format_option
def command(
    files: tuple[Path, ...],
    listener: str,
    host: str | None,
    port: int | None,
    timeout: float,
    config: Path,
    as_json: bool,
) -> None:
    """Send HL7 messages or batches, a file each, and show what is answered: of a batch one line for each of its
    messages that is. Ends with 0 only if every answer is positive.

    Examples:  broker send adt.hl7    ·    broker send --to orders order.hl7
    ·    broker send --host ris --port 2575 adt.hl7
    """
    host, port = _address(config, listener, host, port)
    client = MllpClient(host, port, ack_timeout=timeout)
    results = []
    try:
        for file in files:
            answer = client.send(_as_sent(file.read_bytes()))
            acks = read_acks(answer) if answer else ()
            for ack in acks or (None,):
                results.append(_result(file, ack))
                if not as_json:
                    none = "an empty batch" if answer else "no answer was asked for"
                    click.echo(f"{_shown(ack, in_batch=is_batch(answer)) if ack else none}  {file}")
    finally:
        client.close()
    if as_json:
        print_json(results)
    if not all(result["positive"] for result in results):
        raise SystemExit(1)


def _result(file: Path, ack: Acknowledgement | None) -> dict[str, str | bool]:
    return {
        "file": str(file),
        "control_id": ack.control_id if ack else "",
        "answer": ack.code if ack else "",
        "positive": ack is None or ack.positive,
    }


def _shown(ack: Acknowledgement, *, in_batch: bool) -> str:
    """Code and text; in a batch also whose answer it is."""
    return " ".join(filter(None, (ack.code, ack.control_id if in_batch else "", ack.text)))


def _address(config: Path, listener: str, host: str | None, port: int | None) -> tuple[str, int]:
    if port is not None:
        return host or "127.0.0.1", port
    settings = load_settings(config)
    for setting in settings.inbound:
        if setting.name == listener and hasattr(setting.config, "port"):
            return host or settings.broker.bind, int(setting.config.port)
    names = ", ".join(s.name for s in settings.inbound if hasattr(s.config, "port"))
    raise ConfigError(f"there is no MLLP listener '{listener}' in {config} (there are: {names})")


def _as_sent(raw: bytes) -> bytes:
    """Segments end with CR on the wire (HL7 v2.5.1 2.4.3); a file that a person edited has line feeds."""
    return raw if b"\r" in raw else raw.replace(b"\n", b"\r")
