"""`broker adapters`: which adapters are installed, without importing any; and the beginning of a new one."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import rich_click as click

from broker import registry
from broker.cli.options import format_option, print_json, write_new
from broker.create import adapter
from broker.errors import ConfigError


@click.group("adapters")
def command() -> None:
    """Adapters: those that are installed, and writing a new one (docs/adapters.md)."""


@command.command("list")
@format_option
def list_adapters(as_json: bool) -> None:
    """List the adapters by direction, with the distribution they come from.

    Examples:  broker adapters list    ·    broker adapters list --format json
    """
    found = [
        {
            "direction": group.removeprefix("broker."),
            "name": name,
            "distribution": point.dist.name if point.dist else "",
            "version": point.dist.version if point.dist else "",
        }
        for group in ("broker.inbound", "broker.outbound")
        for name, point in sorted(registry.installed(group).items())
    ]
    if as_json:
        print_json(found)
        return
    for row in found:
        click.echo(f"{row['direction']:<9} {row['name']:<12} {row['distribution']} {row['version']}")


def _name(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    try:
        return adapter.check_name(value)
    except ValueError as exc:
        raise click.BadParameter(str(exc)) from None


@command.command("create")
@click.argument("name", callback=_name)
@click.option(
    "--direction",
    type=click.Choice(get_args(adapter.Direction)),
    required=True,
    help="Which way its messages go, seen from the broker.",
)
@click.option(
    "--protocol",
    type=click.Choice(get_args(adapter.Protocol)),
    required=True,
    help="HL7 over MLLP, or HL7 in files of a folder.",
)
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    show_default="here",
    help="The folder in which the new one is made.",
)
@format_option
def create(
    name: str, direction: adapter.Direction, protocol: adapter.Protocol, into: Path, as_json: bool
) -> None:
    """Write a new adapter as a package of its own: commented, typed, tested, ready to be installed.

    A DICOM service has no template: take adapters/modality (queries) or adapters/pacs (storage) as the model.

    Examples:  broker adapters create ward-screen --direction outbound --protocol mllp --into ../adapters
    """
    for group in ("broker.inbound", "broker.outbound"):
        taken = registry.installed(group).get(name) if direction in ("both", group[7:]) else None
        if taken is not None and taken.dist is not None:
            raise ConfigError(f"{group}: '{name}' is taken by {taken.dist.name} {taken.dist.version}")
    folder = into / adapter.distribution(name)
    if folder.exists():
        raise ConfigError(f"{folder}: is there already; choose another name or another --into")
    files = {folder / file: text for file, text in adapter.adapter_files(name, direction, protocol).items()}
    write_new(files)
    if as_json:
        print_json({"folder": str(folder), "files": [str(path) for path in files]})
        return
    for path in files:
        click.echo(f"wrote {path}")
    click.echo(
        f"\nNow, in the broker's virtual environment:\n"
        f"  pip install --no-deps --no-build-isolation --editable {folder}\n"
        f"  python -m pytest {folder}\n"
        f"and in config/broker.yaml, then `broker check`:\n\n{adapter.settings_lines(name, direction, protocol)}"
    )
