"""The guard's last word on each name: a state, a sentence, the numbers. Shows people whether the guard is silent.

Kept in `guard/<name>.json` of the coordination bucket, together with the evidence. A guard that works renews the words
on everything that it watches at least every ten seconds. So a word that is a minute old means that no guard is at work,
or that it cannot read.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.domain.record import seconds_of
from mlflow_project.domain.times import utc_now
from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.guard.subjects import Subject, subjects
from mlflow_project.parts import Parts

if TYPE_CHECKING:
    from mlflow_project.rules.guard.judge import Judgement

PREFIX = "guard/"
RENEW_SECONDS = 10.0
"""A word is renewed so often, also if it says the same."""
SILENT_SECONDS = 60.0
"""Longer than a step with its receipts takes."""


def word(subject: Subject, state: str, sentence: str, judgement: Judgement) -> dict[str, Any]:
    """The guard's word on a subject, JSON-ready."""
    return {
        "name": subject.name,
        "watches": subject.key,
        "new": subject.new,
        "old": subject.old,
        "state": state,
        "sentence": sentence,
        "missing": judgement.missing if state == "inconclusive" else 0,
        "at": utc_now(),
        **judgement.to_dict(),
    }


def words(store: ObjectStore) -> dict[str, dict[str, Any]]:
    """The guard's last word on each name.

    Raises:
        Unavailable: the store does not answer.
    """
    found = {}
    for each in store.list(store.settings.coordination_bucket, PREFIX):
        try:
            data = json.loads(store.get(store.settings.coordination_bucket, each.key))
            found[str(data["word"]["name"])] = dict(data["word"])
        except (NotFound, KeyError, TypeError, ValueError, RecursionError):
            continue
    return found


def present_words(parts: Parts) -> dict[str, dict[str, Any]]:
    """What the guard says of everything that is to be watched now, by name: its word, `release`, the version that it
    judges, and `silent`. Where it has not looked yet, the state is `unseen`.

    Raises:
        Unavailable: the store does not answer.
    """
    known = words(parts.store)
    return {each.name: _present(each, known.get(each.name, {}), time.time()) for each in subjects(parts.ledger)}


def _present(subject: Subject, last: dict[str, Any], now: float) -> dict[str, Any]:
    if last.get("watches") != subject.key:
        last = {"watches": subject.key, "state": "unseen", "sentence": "The guard has not looked yet.", "missing": 0}
    looked_at = last.pop("at", None)
    try:
        since = seconds_of(looked_at) if looked_at is not None else subject.since
    except (InvalidData, TypeError, ValueError):
        since = subject.since
    return {**last, "release": subject.label, "looked_at": looked_at, "silent": now - since > SILENT_SECONDS}


def lines(said: dict[str, Any]) -> list[str]:
    """A present word for people."""
    looked = f", looked at {said['looked_at']}" if said["looked_at"] else ""
    missing = f", about {said['missing']} requests are missing" if said["missing"] else ""
    found = [f"guard: {said['state'].replace('_', ' ')}{missing}{looked}: {said['sentence']}"]
    if said["silent"]:
        found.append(
            "The guard is silent: none is at work, or it cannot read ledger or counts. Only a person takes steps "
            "or rolls back. `switchyard guard` runs one."
        )
    return found
