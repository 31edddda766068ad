"""Checks the text of a LightGBM model: `check_trees(text)`. Pure.

LightGBM follows the numbers of a tree's nodes, leaves and columns without checking them, so a wrong one reads memory
that does not belong to the model. A text that passes has trees whose every step leads to a later node or to a leaf, and
whose every number of a column, leaf or set of categories exists.
https://github.com/lightgbm-org/LightGBM/blob/main/src/io/tree.cpp
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from mlflow_project.errors import InvalidData

_CATEGORICAL = 1
"""The bit of `decision_type` that marks a node of categories."""


def check_trees(text: str) -> None:
    """Check the header and every tree.

    Raises:
        InvalidData: a number points at nothing, or a list has another length than it should.
    """
    header, trees = _parts(text)
    columns = _number(header, "max_feature_idx") + 1
    classes, trees_per_round = _number(header, "num_class"), _number(header, "num_tree_per_iteration")
    _require(1 <= trees_per_round == classes, "the header names other numbers of classes and of trees per round")
    objective = header.get("objective", "").split()
    if objective and objective[0].startswith("multiclass"):
        _require(f"num_class:{classes}" in objective, "the objective has another number of classes than the header")
    _require(len(trees) % trees_per_round == 0, "the last round lacks trees")
    for number, tree in enumerate(trees):
        try:
            _check(tree, columns)
        except InvalidData as error:
            raise InvalidData(f"tree {number} of its LightGBM text: {error}") from error


def _parts(text: str) -> tuple[Mapping[str, str], list[Mapping[str, str]]]:
    """The entries of the header, and those of each tree."""
    parts: list[dict[str, str]] = [{}]
    for line in text.split("end of trees", 1)[0].splitlines():
        if line.startswith("Tree="):
            parts.append({})
        key, _, value = line.partition("=")
        parts[-1][key] = value
    return parts[0], list(parts[1:])


def _check(tree: Mapping[str, str], columns: int) -> None:
    leaves = _number(tree, "num_leaves")
    _require(leaves >= 1, "it has no leaf")
    _list(tree, "leaf_value", leaves)
    if leaves > 1:
        _check_nodes(tree, leaves, columns)
    if tree.get("is_linear") == "1":
        _check_linear(tree, leaves, columns)


def _check_nodes(tree: Mapping[str, str], leaves: int, columns: int) -> None:
    nodes = leaves - 1
    for column in _whole(tree, "split_feature", nodes):
        _require(0 <= column < columns, f"it reads column {column} of {columns}")
    for side in ("left_child", "right_child"):
        for node, child in enumerate(_whole(tree, side, nodes)):
            _require(-leaves <= child < 0 or node < child < nodes, f"node {node} leads to {child}")
    thresholds, kinds = _list(tree, "threshold", nodes), _whole(tree, "decision_type", nodes)
    sets = [threshold for threshold, kind in zip(thresholds, kinds, strict=True) if kind & _CATEGORICAL]
    if sets:
        count = _number(tree, "num_cat")
        bounds = _whole(tree, "cat_boundaries", count + 1)
        _list(tree, "cat_threshold", bounds[-1])
        _require(bounds[0] == 0 and all(a <= b for a, b in pairwise(bounds)), "its sets of categories overlap")
        _require(all(0 <= float(chosen) < count for chosen in sets), "a node names a set of categories that is missing")


def _check_linear(tree: Mapping[str, str], leaves: int, columns: int) -> None:
    _list(tree, "leaf_const", leaves)
    counts = _whole(tree, "num_features", leaves)
    _require(all(count >= 0 for count in counts), "a leaf has a negative number of columns")
    _list(tree, "leaf_coeff", sum(counts))
    for column in _whole(tree, "leaf_features", sum(counts)):
        _require(0 <= column < columns, f"a leaf reads column {column} of {columns}")


def _number(entries: Mapping[str, str], key: str) -> int:
    return _whole(entries, key, 1)[0]


def _whole(entries: Mapping[str, str], key: str, count: int) -> list[int]:
    try:
        return [int(word) for word in _list(entries, key, count)]
    except ValueError as error:
        raise InvalidData(f"{key} holds something else than whole numbers.") from error


def _list(entries: Mapping[str, str], key: str, count: int) -> list[str]:
    words = entries.get(key, "").split()
    _require(len(words) == count, f"{key} has {len(words)} entries, and {count} are needed")
    return words


def _require(holds: bool, reason: str) -> None:
    if not holds:
        raise InvalidData(f"{reason}.")
