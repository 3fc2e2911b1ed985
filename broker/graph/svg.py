"""A graph as SVG: a column for each layer, each node near what it comes from. Pure; it needs no program.

It does not route arrows around boxes: there are none between two columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import Final

from broker.graph.model import LAYERS, Edge, Graph, Node

LINE: Final = 16
CHARACTER: Final = 7.2
"""Width of a character at 12 px, rather too much: a text must not leave its box."""
PAD: Final = 10
GAP: Final = 18
BETWEEN: Final = 110
"""Between two columns."""
MARGIN: Final = 20
_CAPTION: Final = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """Where a node stands, in pixels."""

    node: Node
    x: float
    y: float
    width: float

    @property
    def height(self) -> float:
        return _height(self.node)

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


def svg(graph: Graph) -> str:
    """The picture, as a file of its own."""
    boxes = layout(graph)
    width = max((box.x + box.width for box in boxes.values()), default=0) + MARGIN
    height = max((box.y + box.height for box in boxes.values()), default=0) + MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}"'
        f' viewBox="0 0 {width:.0f} {height:.0f}" font-family="sans-serif" font-size="12">',
        '<defs><marker id="end" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#555"/></marker></defs>',
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#fff"/>',
    ]
    if graph.caption:
        lines.append(f'<text x="{MARGIN}" y="{MARGIN}" fill="#333">{escape(graph.caption)}</text>')
    lines += [_arrow(edge, boxes) for edge in graph.edges]
    lines += [line for box in boxes.values() for line in _drawn(box)]
    return "\n".join([*lines, "</svg>"]) + "\n"


def layout(graph: Graph) -> Mapping[str, Box]:
    """Every node's place: columns from left to right, in each the order in which fewest arrows should cross."""
    boxes: dict[str, Box] = {}
    x, top = float(MARGIN), MARGIN + (_CAPTION if graph.caption else 0)
    for layer in LAYERS:
        column = [node for node in graph.nodes if node.layer == layer]
        if not column:
            continue
        width = max(_width(node) for node in column)
        y = float(top)
        for node in sorted(column, key=lambda n: _middle_of_sources(n, graph, boxes)):
            boxes[node.id] = Box(node=node, x=x, y=y, width=width)
            y += _height(node) + GAP
        x += width + BETWEEN
    return boxes


def _middle_of_sources(node: Node, graph: Graph, boxes: Mapping[str, Box]) -> float:
    """What a node is sorted by; nodes without sources stay in their order, at the end."""
    found = [boxes[e.source].middle for e in graph.edges if e.target == node.id and e.source in boxes]
    return sum(found) / len(found) if found else float("inf")


def _width(node: Node) -> float:
    return max(len(line) for line in node.lines) * CHARACTER + 2 * PAD


def _height(node: Node) -> float:
    return len(node.lines) * LINE + PAD


def _drawn(box: Box) -> Iterator[str]:
    dashed = "" if box.node.enabled else ' stroke-dasharray="4 3"'
    thick = 3 if box.node.waits else 1
    fill = {"event": "#eef4fb", "route": "#f4f1e6"}.get(box.node.layer, "#f4f4f4")
    round_ = 14 if box.node.layer == "event" else 3
    yield (
        f'<rect x="{box.x:.0f}" y="{box.y:.0f}" width="{box.width:.0f}" height="{box.height:.0f}" rx="{round_}"'
        f' fill="{fill}" stroke="#555" stroke-width="{thick}"{dashed}/>'
    )
    for number, line in enumerate(box.node.lines):
        weight = ' font-weight="bold"' if not number else ""
        y = box.y + PAD / 2 + (number + 0.75) * LINE
        yield f'<text x="{box.x + PAD:.0f}" y="{y:.0f}"{weight} fill="#222">{escape(line)}</text>'


def _arrow(edge: Edge, boxes: Mapping[str, Box]) -> str:
    start, end = boxes[edge.source], boxes[edge.target]
    x1, y1, x2, y2 = start.x + start.width, start.middle, end.x, end.middle
    bend = (x2 - x1) / 2
    dashed = "" if edge.enabled else ' stroke-dasharray="4 3"'
    path = (
        f'<path d="M{x1:.0f},{y1:.0f} C{x1 + bend:.0f},{y1:.0f} {x2 - bend:.0f},{y2:.0f} {x2:.0f},{y2:.0f}"'
        f' fill="none" stroke="#555"{dashed} marker-end="url(#end)"/>'
    )
    if not edge.label:
        return path
    place = f'x="{(x1 + x2) / 2:.0f}" y="{(y1 + y2) / 2 - 4:.0f}"'
    return f'{path}<text {place} text-anchor="middle" font-size="10" fill="#555">{escape(edge.label)}</text>'
