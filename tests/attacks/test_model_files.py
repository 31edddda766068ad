"""Model files of a hostile trainer: whatever numbers they hold, no worker dies of them.

The attacker's version was sealed, so its digests are right. He wants the worker that loads it to crash, or a later
request to read memory that does not belong to the model.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightgbm
import numpy as np
import pytest

from mlflow_project.domain.model import Loading
from mlflow_project.domain.release import Release
from mlflow_project.errors import InvalidData
from mlflow_project.evaluation.held_out import held_out
from mlflow_project.evaluation.workplace import Workplace
from mlflow_project.models.trial import try_model
from mlflow_project.rules.lightgbm_text import check_trees
from tests.unit.test_serving_models import FRAME, LABELS, NAMES, PATH, ROW, Yard, asked, logistic

RANDOM = np.random.default_rng(3)
X, Y = RANDOM.random((300, 3)), RANDOM.integers(0, 3, 300)
CATEGORIES = np.column_stack([X[:, :2], RANDOM.integers(0, 6, 300)])


def trained(**options: Any) -> str:
    """A LightGBM model of three rounds, as text."""
    data = lightgbm.Dataset(options.pop("x", X), options.pop("y", Y > 0), categorical_feature=options.pop("sets", []))
    given = {"objective": "binary", "num_leaves": 5, "verbose": -1, "min_data_per_group": 5, "cat_smooth": 1, **options}
    text: str = lightgbm.train(given, data, 3).model_to_string()
    return text


def changed(text: str, key: str, change: Callable[[str], str]) -> str:
    """The text with the first entry of this key changed."""
    return re.sub(rf"(?m)^{key}=(.*)$", lambda found: f"{key}={change(found[1])}", text, count=1)


def first(word: str) -> Callable[[str], str]:
    """Replaces the first number of a list."""
    return lambda value: re.sub(r"^\S+", word, value)


@pytest.mark.parametrize(
    "text",
    [
        trained(),
        trained(x=CATEGORIES, y=CATEGORIES[:, 2] % 2, sets=[2]),
        trained(objective="multiclass", num_class=3, y=Y),
        trained(objective="regression", linear_tree=True, y=X[:, 0]),
        trained(num_leaves=2, min_data_in_leaf=290),
    ],
    ids=["binary", "categories", "classes", "linear", "stumps"],
)
def test_what_lightgbm_writes_itself_passes(text: str) -> None:
    check_trees(text)


@pytest.mark.parametrize(
    ("key", "change", "said"),
    [
        ("split_feature", first("900000000"), "it reads column 900000000 of 3"),
        ("left_child", first("0"), "node 0 leads to 0"),
        ("right_child", first("123456"), "node 0 leads to 123456"),
        ("left_child", first("-123456"), "node 0 leads to -123456"),
        ("num_leaves", first("4"), "entries, and"),
        ("num_leaves", first("-5"), "it has no leaf"),
        ("num_tree_per_iteration", first("3"), "other numbers of classes"),
        ("decision_type", first("3"), "num_cat|set of categories|entries"),
        ("threshold", lambda value: "", "threshold has 0 entries"),
        ("split_feature", first("one"), "something else than whole numbers"),
    ],
)
def test_a_number_that_points_outside_of_a_tree_is_refused(key: str, change: Callable[[str], str], said: str) -> None:
    with pytest.raises(InvalidData, match=said):
        check_trees(changed(trained(), key, change))


def test_sets_of_categories_and_classes_that_do_not_exist_are_refused() -> None:
    sets = trained(x=CATEGORIES, y=CATEGORIES[:, 2] % 2, sets=[2])
    with pytest.raises(InvalidData, match=r"cat_boundaries|cat_threshold"):
        check_trees(changed(sets, "cat_boundaries", lambda value: value + "0000"))
    classes = trained(objective="multiclass", num_class=3, y=Y)
    with pytest.raises(InvalidData, match="another number of classes"):
        check_trees(changed(classes, "objective", lambda value: "multiclass num_class:1000"))


def test_an_evaluation_outlives_a_text_that_ends_the_process_that_loads_it(tmp_path: Path) -> None:
    """The attacker registers a version that is not sealed yet, and waits until somebody evaluates it."""
    yard = Yard(tmp_path)
    text = changed(trained(), "left_child", first("0"))
    hostile = yard.place(None, 2, "lightgbm-text", data=text.encode(), flavor="lightgbm")
    parts: dict[str, Any] = dict.fromkeys(field.name for field in fields(Workplace))
    fetched = SimpleNamespace(fetch=lambda release, folder: yard.folder.model_folder(release.digest))
    head = SimpleNamespace(head=lambda: (0, ""))
    place = Workplace(**{**parts, "models": fetched, "ledger": head, "folder": tmp_path})
    bench: Any = SimpleNamespace(step=lambda _: nullcontext())
    rows = held_out([{"a": 1.0, "y": 0}], "y", "a test")
    with pytest.raises(InvalidData, match="is damaged or hostile"):
        place.evaluated_model(Release(2, hostile.digest, hostile.manifest), rows, bench, Loading(), again=True)


@pytest.mark.long
def test_a_text_that_kills_or_holds_up_who_loads_it_reaches_no_worker(tmp_path: Path) -> None:
    yard = Yard(tmp_path, model_trial=True, model_warm_seconds=120)
    booster = lightgbm.train(
        {"objective": "binary", "verbose": -1, "num_leaves": 5}, lightgbm.Dataset(FRAME, LABELS), 3
    )
    text = booster.model_to_string()
    good, kills, loops = (
        yard.place(None, number, "lightgbm-text", data=each.encode(), flavor="lightgbm")
        for number, each in enumerate(
            (
                text,
                changed(text, "tree_sizes", lambda value: "99999999 -5 2"),
                changed(text, "left_child", first("0")),
            ),
            2,
        )
    )
    for hostile, said in ((kills, "is damaged or hostile: a process that loaded it"), (loops, "node 0 leads to 0")):
        with pytest.raises(InvalidData, match=said):
            try_model(yard.folder.model_folder(hostile.digest), hostile.manifest, Loading(), 10**8, 120)
    yard.live(yard.place(logistic()))

    async def ask(http: Any) -> tuple[str, Any]:
        async with asyncio.timeout(240):
            yard.live(kills)
            while not (refused := (await http.get("/releases")).json()["refused"]):
                await asyncio.sleep(0.05)
            assert (await http.post(PATH, json={"dataframe_records": [ROW]})).headers["X-Release"] == "fraud/1"
            yard.live(good)
            while (answer := await http.post(PATH, json={"dataframe_records": [ROW]})).headers[
                "X-Release"
            ] != "fraud/2":
                await asyncio.sleep(0.05)
            return str(refused[0]["reason"]), answer.json()["predictions"]

    reason, answered = asked(yard, ask)
    assert "damaged or hostile" in reason
    assert answered == pytest.approx(booster.predict([[ROW[name] for name in NAMES]]).tolist())
