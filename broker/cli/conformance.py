"""`broker conformance`: the DICOM, HL7 and IHE statements of this configuration, made anew each time."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final

import rich_click as click

from broker import __version__
from broker.cli.options import config_option, load_settings, messages_of
from broker.conformance import dicom, hl7, ihe
from broker.conformance.document import Document, markdown
from broker.conformance.facts import Facts
from broker.routing.testing import Case, Outcome, Output, run_tests
from broker.runtime.configured import Configured, configure
from broker.runtime.trial import Trial

STATEMENTS: Final[Mapping[str, Callable[[Facts], Document]]] = MappingProxyType(
    {"dicom": dicom.statement, "hl7": hl7.statement, "ihe": ihe.statement}
)


@click.command("conformance")
@click.argument("which", type=click.Choice([*STATEMENTS]))
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Markdown, or JSON.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write it to this file instead of standard output.",
)
@config_option
def command(which: str, form: str, output: Path | None, config: Path) -> None:
    """Write the DICOM Conformance Statement, the HL7 profile or the IHE Integration Statement of this configuration.

    They are made of the settings, the routes with their tests, and what the adapters declare; what is switched off is
    not in them. They hold no patient data, and no address of a destination.

    Examples:  broker conformance dicom -o conformance.md    ·    broker conformance ihe --format json
    """
    settings = load_settings(config)
    configured = configure(settings, os.environ)
    trial = Trial(configured=configured, clock=lambda: datetime.now(UTC), journal=messages_of(settings))
    document = STATEMENTS[which](facts(configured, trial))
    text = (
        markdown(document)
        if form == "text"
        else json.dumps(document.described(), ensure_ascii=False, indent=2) + "\n"
    )
    if output is None:
        click.echo(text, nl=False)
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text, encoding="utf-8")
    click.echo(f"wrote {output}")


def facts(configured: Configured, trial: Trial) -> Facts:
    """Runs every test of the enabled routes, and keeps what went in and what came out. A test that fails is no matter:
    `broker test` says so."""
    given: dict[str, list[bytes]] = {}
    outputs: list[Output] = []

    def noting(case: Case) -> Outcome:
        for one in (*case.before, case.given):
            if one.study is None:
                given.setdefault(one.source, []).append(trial.message(one, case.folder))
        outcome = trial(case)
        outputs.extend(outcome.outputs)
        return outcome

    run_tests(configured.routes, configured.settings.routes_folder, noting)
    return Facts(
        configured=configured,
        version=__version__,
        given={name: tuple(dict.fromkeys(messages)) for name, messages in given.items()},
        outputs=tuple(outputs),
    )
