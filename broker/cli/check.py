"""`broker check`: settings, tables and routes as a compiler would read them, and what is hardly meant in them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import rich_click as click

from broker.cli.options import config_option, load_settings, print_json
from broker.cli.watch import changes
from broker.errors import ConfigError, Fault, did_you_mean
from broker.routing import report
from broker.routing.files import SHARED
from broker.routing.lint import lint
from broker.routing.rules import RULES, explained
from broker.runtime.configured import configure
from broker.runtime.surroundings import surroundings_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What one look came to."""

    faults: tuple[Fault, ...]
    routes: int = 0
    allowed: int = 0

    @property
    def errors(self) -> int:
        return sum(fault.severity == "error" for fault in self.faults)

    @property
    def warnings(self) -> int:
        return len(self.faults) - self.errors

    @property
    def summary(self) -> str:
        """`6 routes, 0 errors, 1 warnings, 2 allowed: ready for `broker test``."""
        said = f"{self.errors} errors, {self.warnings} warnings"
        if self.allowed:
            said += f", {self.allowed} allowed"
        return said if self.errors else f"{self.routes} routes, {said}: ready for `broker test`"


@click.command("check")
@config_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "github"]),
    default="text",
    show_default=True,
    help="For people, for programs, or as annotations of a pull request.",
)
@click.option("--deny-warnings", is_flag=True, help="Warnings fail too.")
@click.option("--watch", is_flag=True, help="Look again whenever a file changes; ends with Ctrl-C.")
@click.option("--explain", metavar="CODE", help="Say what a code means, with an example, and end.")
def command(config: Path, form: str, deny_warnings: bool, watch: bool, explain: str | None) -> None:
    """Read settings, tables and routes; say what is wrong, and where. Nothing is opened or sent.

    Every finding has a code, which `--explain` and docs/lint.md explain. A warning that is meant to stay is silenced on
    its line, or in the line above, by `# lint: allow CODE REASON`. Exit code 0: nothing wrong; 1: errors, or warnings
    with `--deny-warnings`; 2: no settings file, or a wrong option.

    Examples:  broker check --deny-warnings    ·    broker check --explain never-true    ·    broker check --watch
    """
    if explain is not None:
        click.echo(_explanation(explain), nl=False)
        return
    if watch:
        for _ in changes(lambda: watched(config)):
            show(looked_at(config), form)
        return
    checked = looked_at(config)
    show(checked, form)
    if checked.errors or (deny_warnings and checked.warnings):
        raise SystemExit(1)


def looked_at(config: Path) -> Checked:
    """One look at everything. Raises `ConfigError` where there is not even a settings file."""
    try:
        settings = load_settings(config)
        configured = configure(settings, os.environ)
    except ConfigError as exc:
        if not exc.faults:
            raise
        return Checked(faults=exc.faults)
    found = lint(configured.routes, surroundings_of(settings, os.environ))
    return Checked(faults=found.faults, routes=len(configured.routes.routes), allowed=found.allowed)


def show(checked: Checked, form: str) -> None:
    """On standard output, in the form asked for."""
    if form == "json":
        counts = {"routes": checked.routes, "errors": checked.errors, "warnings": checked.warnings}
        print_json({**counts, "allowed": checked.allowed, "faults": report.objects(checked.faults)})
        return
    if checked.faults:
        found = report.github(checked.faults) if form == "github" else None
        click.echo(found or report.text(checked.faults, _sources(checked.faults)))
    click.echo(checked.summary)


def watched(config: Path) -> list[Path]:
    """Every file that a look depends on: the folder of the settings, and the routes with what stands beside them."""
    folders = [config.parent]
    try:
        routes = load_settings(config).routes_folder
        folders += [routes, routes / SHARED, routes / "tests"]
    except ConfigError:
        pass  # while the settings cannot be read, they are all that can make it better
    return [path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir())]


def _explanation(code: str) -> str:
    if code not in RULES:
        raise click.UsageError(
            f"there is no code '{code}'. {did_you_mean(code, RULES) or 'docs/lint.md lists them.'}"
        )
    return explained(RULES[code])


def _sources(faults: Iterable[Fault]) -> dict[str, str]:
    """The text of the files that faults stand in, for the line and the caret."""
    found = {}
    for name in {fault.file for fault in faults}:
        path = Path(name)
        if path.is_file():
            found[name] = path.read_text(encoding="utf-8", errors="replace")
    return found
