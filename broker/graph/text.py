"""A graph as Mermaid and as Graphviz's DOT. Pure; every text is escaped, whatever the settings call things."""

from __future__ import annotations

from collections.abc import Iterator

from broker.graph.model import LAYERS, Graph, Node

_DASHED = "stroke-dasharray: 4 3"


def mermaid(graph: Graph) -> str:
    """A `flowchart LR`, as GitHub and GitLab show it."""
    return "\n".join(_mermaid(graph)) + "\n"


def _mermaid(graph: Graph) -> Iterator[str]:
    ids = {node.id: f"n{number}" for number, node in enumerate(graph.nodes)}
    yield "flowchart LR"
    if graph.caption:
        yield f"  %% {_entities(graph.caption)}"
    for layer in LAYERS:
        for node in graph.nodes:
            if node.layer == layer:
                yield f"  {ids[node.id]}{_shaped(node)}"
    for edge in graph.edges:
        line = "-->" if edge.enabled else "-.->"
        label = f'|"{_entities(edge.label)}"|' if edge.label else ""
        yield f"  {ids[edge.source]} {line}{label} {ids[edge.target]}"
    for style, names in (
        (_DASHED, [ids[n.id] for n in graph.nodes if not n.enabled]),
        ("stroke-width: 3px", [ids[n.id] for n in graph.nodes if n.waits]),
    ):
        yield from (f"  style {name} {style}" for name in names)


def _shaped(node: Node) -> str:
    text = "<br>".join(_entities(line) for line in node.lines)
    opening, closing = {"event": ("([", "])"), "route": ("[[", "]]")}.get(node.layer, ("[", "]"))
    return f'{opening}"{text}"{closing}'


def _entities(text: str) -> str:
    """Mermaid's own entities: `#` and a code point."""
    return "".join(sign if sign.isalnum() or sign in " .,-+_*^:/…" else f"#{ord(sign)};" for sign in text)


def dot(graph: Graph) -> str:
    """For `dot -Tsvg` and its like."""
    return "\n".join(_dot(graph)) + "\n"


def _dot(graph: Graph) -> Iterator[str]:
    yield "digraph broker {"
    yield "  rankdir=LR; node [shape=box, fontname=sans]; edge [fontname=sans];"
    if graph.caption:
        yield f"  label={_quoted(graph.caption)};"
    for layer in LAYERS:
        own = [node for node in graph.nodes if node.layer == layer]
        for node in own:
            style = ", style=dashed" if not node.enabled else ", penwidth=3" if node.waits else ""
            yield f"  {_quoted(node.id)} [label={_quoted(*node.lines)}{style}];"
        if own:
            yield f"  {{ rank=same; {' '.join(_quoted(node.id) + ';' for node in own)} }}"
    for edge in graph.edges:
        options = [f"label={_quoted(edge.label)}"] if edge.label else []
        options += [] if edge.enabled else ["style=dashed"]
        said = f" [{', '.join(options)}]" if options else ""
        yield f"  {_quoted(edge.source)} -> {_quoted(edge.target)}{said};"
    yield "}"


def _quoted(*lines: str) -> str:
    text = "\\n".join(line.replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return f'"{text}"'
