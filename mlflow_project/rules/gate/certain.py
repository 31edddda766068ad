"""Names the scores that cannot fail for a provider. They decide nothing about its releases.

`extractive` answers with sentences of its context, word for word, and cites where they stand. So its groundedness and
its citations are near 1 whatever it answers: a floor on them proves nothing, and no release that writes its own
sentences can keep up with them.
"""

from __future__ import annotations

from collections.abc import Mapping

from mlflow_project.domain.release import Manifest
from mlflow_project.domain.verdict import Check

CERTAIN: Mapping[str, frozenset[str]] = {
    "extractive": frozenset({"groundedness", "hallucination", "citations_right"}),
}


def certain_metrics(manifest: Manifest) -> frozenset[str]:
    """The metrics that cannot fail for a release: those that are certain for all providers that it may ask."""
    choices = [choice for choice in (manifest.provider, *(manifest.fallbacks or ())) if choice is not None]
    found = [CERTAIN.get(choice.name, frozenset()) for choice in choices]
    return frozenset.intersection(*found) if found else frozenset()


def certain_check(metric: str, label: str) -> Check:
    """The check that says of a metric that it decides nothing."""
    reason = f"{metric} cannot fail for {label}, whose provider quotes its context word for word: it decides nothing"
    return Check(metric, "certain", True, reason)
