"""Writes a graph for other programs: Mermaid's and Graphviz's languages. Pure."""

from __future__ import annotations

from mlflow_project.lineage.graph import Graph


def mermaid(graph: Graph) -> str:
    """The graph as a Mermaid flowchart, from raw texts on the left to answers on the right."""
    numbers = {node: f"n{number}" for number, node in enumerate(graph.nodes)}
    nodes = [f'  {number}["{_for_mermaid(str(node))}"]' for node, number in numbers.items()]
    edges = [
        f'  {numbers[edge.source]} -- "{_for_mermaid(edge.how)}" --> {numbers[edge.target]}' for edge in graph.edges
    ]
    return "\n".join(["flowchart LR", *nodes, *edges]) + "\n"


def dot(graph: Graph) -> str:
    """The graph in Graphviz's language."""
    nodes = [f"  {_for_dot(str(node))};" for node in graph.nodes]
    edges = [
        f"  {_for_dot(str(edge.source))} -> {_for_dot(str(edge.target))} [label={_for_dot(edge.how)}];"
        for edge in graph.edges
    ]
    return "\n".join(["digraph lineage {", "  rankdir=LR;", *nodes, *edges, "}"]) + "\n"


def _for_mermaid(text: str) -> str:
    """The text with all characters that could end a label, or be markup, as entities."""
    return "".join(char if char.isalnum() or char in " .:/@_-" else f"#{ord(char)};" for char in text)


def _for_dot(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    return f'"{escaped}"'
