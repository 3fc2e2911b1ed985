"""The graph of the shipped configuration, and of names that nobody should choose."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest

from broker.graph.model import LAYERS, Edge, Graph, Live, Node, graph
from broker.graph.svg import CHARACTER, GAP, layout, svg
from broker.graph.text import dot, mermaid
from broker.runtime.configured import Configured, configure
from broker.settings import load
from tests.support import golden
from tests.support.shared import REPOSITORY

NOW = datetime(2026, 3, 9, 8, tzinfo=UTC)
STATUS: dict[str, Any] = {
    "received": [{"source": "pas", "verdict": "accepted", "messages": 12}],
    "events_waiting": 3,
    "destinations": [
        {"destination": "epj", "queued": 2, "parked": 1, "held": 0, "oldest": "2026-03-09T07:58:30+00:00"},
        {"destination": "pacs", "queued": 0, "parked": 0, "held": 0, "oldest": None},
    ],
}
SVG = "{http://www.w3.org/2000/svg}"
NASTY = 'a"<b>&\\c;|]%%--'


@pytest.fixture(scope="module")
def shipped() -> Configured:
    return configure(load(REPOSITORY / "config" / "broker.yaml", env={}), {})


def nasty(*, enabled: bool = True, waits: bool = False) -> Graph:
    nodes = (
        Node(id="listener a", layer="listener", lines=(NASTY,)),
        Node(id="route b", layer="route", lines=(NASTY, "second"), enabled=enabled, waits=waits),
    )
    edge = Edge(source="listener a", target="route b", label=NASTY, enabled=enabled)
    return Graph(nodes=nodes, edges=(edge,), caption=NASTY)


def named(made: Graph, name: str) -> Node:
    return next(node for node in made.nodes if node.id == name)


@pytest.mark.parametrize(("what", "draw"), [("mmd", mermaid), ("dot", dot), ("svg", svg)])
def test_the_shipped_configuration(shipped: Configured, what: str, draw: Any) -> None:
    golden.check(golden.FOLDER / "graph", what, draw(graph(shipped)))


def test_event_types_with_the_same_ways_are_one_node(shipped: Configured) -> None:
    lines = {node.lines for node in graph(shipped).nodes if node.layer == "event"}

    assert {("order.placed", "order.changed"), ("order.cancelled",)} <= lines
    of_visits_too = ("step.scheduled",)
    of_orders = ("step.arrived", "step.cancelled")
    of_modalities_too = ("step.changed", "step.started", "step.completed", "step.discontinued")
    assert {of_visits_too, of_orders, of_modalities_too} <= lines


def test_every_arrow_leads_from_one_layer_to_the_next(shipped: Configured) -> None:
    made = graph(shipped)
    depth = {node.id: LAYERS.index(node.layer) for node in made.nodes}

    assert {depth[edge.target] - depth[edge.source] for edge in made.edges} == {1}


def test_what_is_off_is_off_with_its_ways(shipped: Configured) -> None:
    made = graph(shipped)
    off = {"route adt-to-pacs", "destination pacs-hl7", "route mpps-forward", "destination mpps"}
    off |= {"route commitment-to-pacs", "destination pacs-commitment"}

    assert {node.id for node in made.nodes if not node.enabled} == off
    assert {e for e in made.edges if not e.enabled} == {e for e in made.edges if {e.source, e.target} & off}


def test_live_says_what_came_and_what_waits(shipped: Configured) -> None:
    made = graph(shipped, Live(status=STATUS, now=NOW))

    assert made.caption == "3 events wait to be routed, 2026-03-09T08:00:00+00:00"
    assert named(made, "listener pas").lines[2] == "12 accepted"
    assert named(made, "listener orders").lines[2] == "nothing received"
    assert named(made, "destination epj").lines[2:] == ("2 queued, 1 parked", "the oldest since 0:01:30")
    assert named(made, "destination pacs").lines[2:] == ("nothing waits",)
    assert named(made, "destination worklist").lines[2:] == ("nothing waits",)
    assert [node.id for node in made.nodes if node.waits] == ["destination epj"]


def test_the_shape_is_stable(shipped: Configured) -> None:
    told = graph(shipped).described()

    assert set(told) == {"nodes", "edges", "caption"}
    assert set(told["nodes"][0]) == {"id", "layer", "lines", "enabled", "waits"}
    assert set(told["edges"][0]) == {"source", "target", "label", "enabled"}


def test_mermaid_sees_no_sign_of_its_own_in_a_name() -> None:
    told = mermaid(nasty())
    (node,) = [line for line in told.splitlines() if line.startswith("  n0[")]

    assert node == '  n0["a#34;#60;b#62;#38;#92;c#59;#124;#93;#37;#37;--"]'
    assert "<b>" not in told


def test_dot_reads_a_name_back() -> None:
    assert '"listener a" [label="a\\"<b>&\\\\c;|]%%--"];' in dot(nasty())
    assert 'label="a\\"<b>&\\\\c;|]%%--\\nsecond", style=dashed' in dot(nasty(enabled=False))


def test_a_picture_shows_names_as_they_are() -> None:
    texts = [element.text for element in ElementTree.fromstring(svg(nasty())).iter(f"{SVG}text")]

    assert texts == [NASTY, NASTY, NASTY, NASTY, "second"]


def test_a_picture_shows_what_is_off_and_what_waits() -> None:
    off, waits = svg(nasty(enabled=False)), svg(nasty(waits=True))

    assert off.count('stroke-dasharray="4 3"') == 2
    assert 'stroke-width="3"' in waits
    assert "stroke-dasharray" not in waits


def test_no_box_lies_on_another_and_every_text_is_inside(shipped: Configured) -> None:
    made = graph(shipped, Live(status=STATUS, now=NOW))
    boxes = layout(made)
    columns = {
        x: sorted((b for b in boxes.values() if b.x == x), key=lambda b: b.y)
        for x in {b.x for b in boxes.values()}
    }

    assert set(boxes) == {node.id for node in made.nodes}
    assert len(columns) == len(LAYERS)
    for column in columns.values():
        assert all(lower.y - upper.y - upper.height >= GAP for upper, lower in pairwise(column))
    for left, right in pairwise(sorted(columns)):
        assert max(box.x + box.width for box in columns[left]) < right
    assert all(len(line) * CHARACTER <= box.width for box in boxes.values() for line in box.node.lines)


def test_nothing_is_a_picture_too() -> None:
    assert ElementTree.fromstring(svg(Graph(nodes=(), edges=()))).tag == f"{SVG}svg"
