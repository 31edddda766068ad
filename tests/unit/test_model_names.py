"""What a chat's `model` may say: a name, a name and an alias, a name and a version."""

from __future__ import annotations

import pytest

from serving.live.shelf import Shelf
from serving.routes.openai.model_request import name_and_alias


@pytest.mark.parametrize(
    "model", ["qa/0001", "qa/0", "qa/+1", "qa/1_0", "qa/1 ", "7", "qa/²", "qa/-1", "qa/", "/", "qa/٣", "qa/x"]
)
def test_what_is_no_version_belongs_to_the_name(model: str) -> None:
    assert name_and_alias(Shelf(), model, "Production") == (model, "Production")
