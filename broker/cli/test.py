"""`broker test`: runs the tests that stand in the route files, through everything but the sending."""

from __future__ import annotations

import os
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import rich_click as click

from broker.cli.options import config_option, format_option, load_settings, messages_of, print_json
from broker.errors import ConfigError, did_you_mean
from broker.routing import coverage as coverages
from broker.routing.coverage import Coverage, Point, Report
from broker.routing.testing import Difference, TestResult
from broker.routing.update import UpdateError, rewritten
from broker.runtime.configured import Configured, configure
from broker.runtime.trial import Trial
from broker.yamlfile.document import NodePath


@click.command("test")
@click.option("--route", default="", help="Only the tests of this route.")
@click.option("--update", is_flag=True, help="Write what came out into the route files as what is expected.")
@click.option("--coverage", is_flag=True, help="Show what no test ever exercised.")
@click.option(
    "--min-coverage",
    type=click.FloatRange(0, 100),
    help="Fail where fewer percent of targets and ways of expressions are exercised.",
)
@click.option(
    "--junit", type=click.Path(dir_okay=False, path_type=Path), help="Write the results as JUnit XML too."
)
@config_option
@format_option
def command(
    route: str,
    update: bool,
    coverage: bool,
    min_coverage: float | None,
    junit: Path | None,
    config: Path,
    as_json: bool,
) -> None:
    """Run the tests that stand in the route files. Each starts with empty registers; nothing is sent.

    Differences are told by segment and field, or by tag. Coverage counts the targets of each enabled route, and the
    ways that its expressions can go; rows of code tables are listed beside it and not counted. `--update` keeps
    comments and layout, and leaves alone what only a person can say, such as another number of outputs: read the
    difference before you keep it. A test by `journal:` shows what that message holds.

    Examples:  broker test    ·    broker test --route steps-to-worklist --update
    ·    broker test --coverage --min-coverage 100 --junit results.xml
    """
    settings = load_settings(config)
    configured, seen = configure(settings, os.environ), Coverage()
    _known(configured, route)
    results = _run(configured, route, seen)
    updated: list[str] = []
    if update:
        updated = _update(configured, results)
        configured = configure(settings, os.environ)
        results = _run(configured, route, seen := Coverage())
    report = seen.report(configured.routes, route) if coverage or min_coverage is not None else None
    if junit is not None:
        junit.write_text(_junit(results), encoding="utf-8")
    short = report is not None and min_coverage is not None and report.percent < min_coverage
    if as_json:
        print_json(
            {
                "tests": [{**asdict(result), "passed": result.passed} for result in results],
                "updated": updated,
                "coverage": None if report is None else _described(report),
            }
        )
    else:
        for line in updated:
            click.echo(f"updated {line}")
        _print(configured, results)
        if coverage and report is not None:
            _print_coverage(report)
    if short and report is not None:
        click.echo(f"coverage is {report.percent:.1f} %, less than {min_coverage:g} %", err=True)
    if short or not all(result.passed for result in results):
        raise SystemExit(1)


def _known(configured: Configured, route: str) -> None:
    names = [one.name for one in configured.routes.routes]
    if route and route not in names:
        hint = did_you_mean(route, names) or f"There are {', '.join(names)}."
        raise ConfigError(f"there is no route '{route}'. {hint}")


def _run(configured: Configured, route: str, seen: Coverage) -> list[TestResult]:
    return Trial(
        configured=configured,
        clock=lambda: datetime.now(UTC),
        journal=messages_of(configured.settings),
        coverage=seen,
    ).results(route)


# --- update ---


def _update(configured: Configured, results: list[TestResult]) -> list[str]:
    """Rewrites the route files; returns the places that were written. Raises `ConfigError`."""
    routes = {route.name: route for route in configured.routes.routes}
    files: dict[str, dict[NodePath, tuple[str, Difference]]] = {}
    for result in results:
        route = routes[result.route]
        number = list(route.tests).index(result.place)
        for difference in result.differences:
            if difference.at:
                path: NodePath = ("tests", number, "expect", *difference.at)
                files.setdefault(route.file, {})[path] = (result.place, difference)
    written = []
    for name, found in files.items():
        path_ = configured.settings.routes_folder / Path(name).name
        changes = {path: difference.value for path, (_, difference) in found.items()}
        try:
            text = rewritten(path_.read_bytes().decode("utf-8"), changes, os.environ)
        except UpdateError as error:
            raise ConfigError(f"{name}: {error}; this file was not changed") from None
        beside = path_.with_suffix(".yaml.new")
        beside.write_bytes(text.encode("utf-8"))
        beside.chmod(path_.stat().st_mode)
        beside.replace(path_)
        written += [f"{place}: {difference.where}" for place, difference in found.values()]
    return written


# --- shown ---


def _print(configured: Configured, results: list[TestResult]) -> None:
    for result in results:
        click.echo(f"{'ok  ' if result.passed else 'FAIL'} {result.route}: {result.name}")
        for difference in result.differences:
            click.echo(f"     {result.place}: {difference}")
    failed = sum(not result.passed for result in results)
    off = sum(not route.enabled for route in configured.routes.routes)
    note = f", {off} routes are not enabled" if off else ""
    click.echo(f"{len(results) - failed} passed, {failed} failed{note}")


def _print_coverage(report: Report) -> None:
    for name in dict.fromkeys(point.route for point in report.points):
        own = [point for point in report.points if point.route == name]
        click.echo(f"{coverages.percent(own):5.1f} % of {len(own)} in {name}")
        for point in own:
            if not point.covered:
                click.echo(f"        {point.place}: never: {point.what}")
    click.echo(f"{report.percent:5.1f} % of {len(report.points)} targets and ways of expressions")
    for name in dict.fromkeys(row.route for row in report.rows):
        rows = [row for row in report.rows if row.route == name]
        unused = [row.what for row in rows if not row.covered]
        rest = f"; never: {', '.join(unused)}" if unused else ""
        click.echo(f"table {name}: {len(rows) - len(unused)} of {len(rows)} rows{rest}")


def _described(report: Report) -> dict[str, Any]:
    def points(found: tuple[Point, ...], first: str) -> list[dict[str, Any]]:
        return [{first: p.route, "place": p.place, "what": p.what, "covered": p.covered} for p in found]

    return {
        "percent": round(report.percent, 1),
        "points": points(report.points, "route"),
        "rows": points(report.rows, "table"),
    }


def _junit(results: list[TestResult]) -> str:
    """The results as JUnit XML: a suite for each route, a case for each test."""
    root = ElementTree.Element("testsuites")
    for route in dict.fromkeys(result.route for result in results):
        own = [result for result in results if result.route == route]
        failures = sum(not result.passed for result in own)
        suite = ElementTree.SubElement(
            root, "testsuite", name=route, tests=str(len(own)), failures=str(failures)
        )
        for result in own:
            file, _, line = result.place.rpartition(":")
            case = ElementTree.SubElement(
                suite, "testcase", classname=route, name=result.name, file=file, line=line
            )
            if not result.passed:
                said = [str(difference) for difference in result.differences]
                ElementTree.SubElement(case, "failure", message=said[0]).text = "\n".join(said)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"
