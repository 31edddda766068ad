"""A version that is sealed on the same grounds is not sealed again; on any other grounds it is."""

from __future__ import annotations

from mlflow_project.promotion.seal_release import same_seal
from tests.releases.conftest import Yard


def test_a_seal_counts_only_for_the_same_content_policy_cases_and_champion(yard: Yard) -> None:
    live, version = yard.register(floor=0.0), yard.register(floor=0.1)
    record = yard.seal(version)
    release, champion = yard.release(version), yard.release(live)
    found = same_seal(yard.parts, release, "sha256:0", "sha256:1", None)
    assert found is not None
    assert found.serial == record.serial
    assert same_seal(yard.parts, release, "sha256:other", "sha256:1", None) is None, "another policy"
    assert same_seal(yard.parts, release, "sha256:0", "sha256:other", None) is None, "other cases"
    assert same_seal(yard.parts, release, "sha256:0", "sha256:1", champion) is None, "another champion"
    assert same_seal(yard.parts, champion, "sha256:0", "sha256:1", None) is None, "never sealed"


def test_a_seal_does_not_count_after_the_gate_refused_the_version(yard: Yard) -> None:
    version = yard.sealed()
    yard.seal(version, outcome="rejected")
    assert same_seal(yard.parts, yard.release(version), "sha256:0", "sha256:1", None) is None
    again = yard.seal(version)
    found = same_seal(yard.parts, yard.release(version), "sha256:0", "sha256:1", None)
    assert found is not None
    assert found.serial == again.serial
