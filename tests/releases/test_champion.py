"""Whom a candidate has to face: what the ledger says is live, as it was sealed, whatever MLflow says now."""

import pytest

from mlflow_project.domain.release import Release
from mlflow_project.errors import InvalidData, NotFound, SealBroken
from mlflow_project.evaluation.champion import champion
from mlflow_project.promotion.promote import promote
from tests.releases.conftest import Yard

ANNA = "user:anna"


def of(yard: Yard, alias: str = "Production") -> Release | None:
    return champion(yard.parts.ledger, yard.parts.store, yard.name, alias)


def test_the_champion_is_what_was_sealed_whatever_mlflow_says_of_it_now(yard: Yard) -> None:
    first, worse = yard.sealed("1"), yard.register("2")
    sealed = yard.release(first)
    promote(yard.parts, yard.name, first, "Production", ANNA)
    yard.parts.registry.set_version_tag(yard.name, first, "mlflow.prompt.text", "Answer badly.")
    yard.parts.registry.set_alias(yard.name, "Production", worse)
    assert of(yard) == sealed
    with pytest.raises(SealBroken, match="was sealed before with other content"):
        yard.seal(first)


def test_an_alias_that_only_mlflow_knows_makes_no_champion(yard: Yard) -> None:
    yard.parts.registry.set_alias(yard.name, "Production", yard.register())
    assert of(yard) is None


def test_staging_and_previous_can_be_compared_with_and_nothing_else(yard: Yard) -> None:
    first, second = yard.sealed("1"), yard.register("2")
    for version in (first, second):
        yard.seal(version)
        promote(yard.parts, yard.name, version, "Production", ANNA)
    assert of(yard, "Previous") == yard.release(first)
    assert of(yard, "Staging") is None
    for alias in ("production", "Candidate", "nobody"):
        with pytest.raises(InvalidData, match="Production, Staging, Previous"):
            of(yard, alias)


def test_a_sealed_manifest_that_is_gone_is_no_empty_throne(yard: Yard) -> None:
    from mlflow_project.adapters.releases import manifest_key

    first = yard.sealed()
    promote(yard.parts, yard.name, first, "Production", ANNA)
    store = yard.parts.store
    store.delete(store.settings.artifacts_bucket, manifest_key(yard.release(first).digest))
    with pytest.raises(NotFound):
        of(yard)
