"""The registry of codes: each is declared once, documented, and proved by its own example."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from broker.errors import ConfigError
from broker.routing import rules
from broker.routing.lint import lint
from broker.routing.rules import RULES, Rule
from broker.routing.tables import load_table
from tests.unit.routing.conftest import AROUND

HOUSE = Path(__file__).parents[3]
ROUTES = [rule for rule in RULES.values() if rule.file == "route"]


def codes(load: Any, text: str) -> set[str]:
    """Every code that the lines, made a whole route each, are told of."""
    texts = []
    for number, lines in enumerate(text.split("---\n")):
        whole = lines.rstrip("\n")
        for key, line in (
            ("route", f"route: r{number}"),
            ("on", "on: [step.*]"),
            ("to", "to: [{ worklist: worklist }]"),
        ):
            whole = whole if re.search(rf"^{key}:", whole, re.MULTILINE) else f"{line}\n{whole}"
        texts.append(whole + "\n")
    try:
        return {fault.code for fault in lint(load(*texts), AROUND).faults}
    except ConfigError as error:
        return {fault.code for fault in error.faults}


@pytest.mark.parametrize("rule", ROUTES, ids=lambda rule: rule.code)
def test_the_example_has_it_and_the_correction_has_not(rule: Rule, load: Any) -> None:
    found, corrected = codes(load, rule.example), codes(load, rule.better)

    assert rule.code in found
    assert rule.code not in corrected
    assert {RULES[code].severity for code in found} == {rule.severity}, "nothing worse is in the way"
    assert not any(RULES[code].severity == "error" for code in corrected)


def test_a_table_has_it_and_the_correction_has_not(tmp_path: Path) -> None:
    (bad := tmp_path / "bad.csv").write_text(RULES["table"].example, encoding="utf-8")
    (good := tmp_path / "good.csv").write_text(RULES["table"].better, encoding="utf-8")

    with pytest.raises(ConfigError) as caught:
        load_table("t", bad)
    assert {fault.code for fault in caught.value.faults} == {"table"}
    assert load_table("t", good).find(("R1",), "20260101000000") == ("CT1", "CT2")


def test_what_is_not_in_a_route_has_a_test_of_its_own() -> None:
    """`table` above, those of the settings in tests/unit/runtime/test_surroundings.py."""
    assert [rule.code for rule in RULES.values() if rule.file == "table"] == ["table"]


def test_every_code_that_is_told_is_declared() -> None:
    told: set[str] = set()
    for path in [
        *(HOUSE / "broker" / "routing").glob("*.py"),
        *(HOUSE / "broker" / "yamlfile").glob("*.py"),
        *(HOUSE / "broker" / f"{name}.py" for name in ("csvfile", "entries", "settings")),
        HOUSE / "broker" / "runtime" / "surroundings.py",
    ]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if path.name == "rules.py":
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg == "code" and isinstance(node.value, ast.Constant):
                told.add(node.value.value)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                first = node.args[0] if node.args else None
                if node.func.attr in ("warning", "at", "_fault") and isinstance(first, ast.Constant):
                    told.add(first.value)

    assert {code for code in told if isinstance(code, str)} <= RULES.keys()
    assert "never-true" in told


def test_no_code_stands_twice() -> None:
    assert len(RULES) == len(list(rules._rules()))


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.code)
def test_a_code_is_a_word_and_is_explained_in_whole_sentences(rule: Rule) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", rule.code)
    for text in (rule.what, rule.why):
        assert text[0].isupper() or text.startswith(("msg()", "park()"))
        assert text.endswith(".")
    assert rule.example != rule.better
    shown = rules.explained(rule)
    assert rule.what in shown
    can_stay = rule.severity == "warning" and "-allow" not in rule.code
    assert shown.endswith(f"# lint: allow {rule.code} REASON\n") == can_stay


def test_the_page_has_every_code() -> None:
    page = (HOUSE / "docs" / "lint.md").read_text(encoding="utf-8")

    assert re.findall(r"^### `(.*)`$", page, re.MULTILINE) == list(RULES)
