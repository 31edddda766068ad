"""Reads the quality of the texts that a policy's `data` demands, for the gate.

In: a release, and the policy. Out: checks. The Delta tables have the facts, at the version that the release pins.
"""

from __future__ import annotations

from mlflow_project.adapters.text_quality import text_quality
from mlflow_project.domain.release import Release
from mlflow_project.domain.verdict import Check
from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.rules.gate.data import data_checks, unreadable
from mlflow_project.rules.gate.policy import Policy


def demanded_data(candidate: Release, policy: Policy) -> tuple[Check, ...]:
    """What the policy's `data` says about a candidate. A release without a knowledge base rests on no texts: no check.

    Raises:
        Unavailable: the store does not answer.
    """
    base = candidate.manifest.knowledge_base
    if policy.data is None or base is None:
        return ()
    try:
        return data_checks(policy.data, text_quality(base.table, base.delta_version))
    except (NotFound, InvalidData) as error:
        return (unreadable(str(error)),)
