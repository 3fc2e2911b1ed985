"""Faults as people and programs see them."""

from __future__ import annotations

from broker.errors import Fault
from broker.routing import report

TEXT = "route: eye\nto:\n  - worklist: wroklist\n"
FAULT = Fault(
    file="routes/0.yaml",
    line=3,
    column=15,
    end=23,
    message="$.to[0].worklist: there is no destination 'wroklist'.",
    hint="Did you mean 'worklist'?",
    code="unknown-destination",
    note="Used by routes/1.yaml:4.",
)


def test_for_a_person() -> None:
    assert report.text([FAULT], {"routes/0.yaml": TEXT}) == (
        "error[unknown-destination]: $.to[0].worklist: there is no destination 'wroklist'.\n"
        "  --> routes/0.yaml:3:15\n"
        "  |\n"
        "3 |   - worklist: wroklist\n"
        "  |               ^^^^^^^^\n"
        "  = Did you mean 'worklist'?\n"
        "  = Used by routes/1.yaml:4."
    )


def test_one_caret_where_the_end_is_unknown_and_none_without_the_line() -> None:
    bare = Fault(file="f", line=1, column=3, message="x.")

    assert report.text([bare], {"f": "abc"}) == "error: x.\n  --> f:1:3\n  |\n1 | abc\n  |   ^"
    assert report.text([bare], {}) == "error: x.\n  --> f:1:3"
    assert report.text([bare], {"f": "\n"}) == "error: x.\n  --> f:1:3"


def test_for_github() -> None:
    warning = Fault(file="a,b:c", line=1, column=2, message="50 %\nmore.", severity="warning")

    assert report.github([FAULT, warning]) == (
        "::error file=routes/0.yaml,line=3,col=15,endColumn=23,title=unknown-destination::"
        "$.to[0].worklist: there is no destination 'wroklist'. Used by routes/1.yaml:4. Did you mean 'worklist'?\n"
        "::warning file=a%2Cb%3Ac,line=1,col=2,title=warning::50 %25%0Amore."
    )


def test_for_a_program() -> None:
    (found,) = report.objects([FAULT])

    assert (found["code"], found["line"], found["column"], found["end"]) == ("unknown-destination", 3, 15, 23)
    assert found["severity"] == "error"
