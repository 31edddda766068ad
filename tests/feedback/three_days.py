"""Events of three days as followers ship them: in the last hours people ask of something else, and one answer of the
first day was corrected."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.domain.times import utc_text
from mlflow_project.settings import StoreSettings, load
from tests.unit.test_spool import answer, judgement

NOW = datetime.now(UTC)
BEFORE = (
    "What does the gate decide?",
    "Who may promote a release?",
    "How long is a chunk?",
    "Where does the ledger lie?",
)
AFTER = ("Wie wird das Wetter morgen?", "Wann fährt der nächste Zug?", "Welches Restaurant hat heute offen?")
EVENTS = 320


def ship(name: str) -> ObjectStore:
    """Put them into the object store, as one object."""
    store = ObjectStore(load(StoreSettings))
    events: list[Any] = []
    for number in range(EVENTS):
        late = number >= EVENTS - 100
        asked = (AFTER if late else BEFORE)[number % 3]
        at = NOW - (timedelta(hours=1) if late else timedelta(hours=60)) + timedelta(seconds=number)
        event = answer(number, f"It is number {number % 7}.")
        stamp = utc_text(at)
        event = replace(event, event_id=f"{name}-{number}", at=stamp, name=name, release=f"{name}/1", question=asked)
        events.append(event)
    said = {"name": name, "release": f"{name}/1", "answer_event": f"{name}-1", "feedback_id": name}
    events.append(judgement(f"{name}-f", 0.0, corrected_answer="The four eyes of the gate.", **said))
    body = "".join(json.dumps(event.to_dict()) + "\n" for event in events).encode()
    store.put("raw-data-bucket", f"events/day={NOW:%Y-%m-%d}/{name}.jsonl", body)
    return store


def ship_rows(name: str) -> None:
    """Events of a model over three days, as one object: in the last hours the amounts are larger."""
    random, events = np.random.default_rng(1), []
    for number in range(EVENTS):
        late = number >= EVENTS - 100
        at = NOW - (timedelta(hours=1) if late else timedelta(hours=60)) + timedelta(seconds=number)
        amount, hour = float(random.normal(2.0 * late)), float(random.integers(0, 24))
        sample = {"inputs": {"amount": [amount], "hour": [hour]}, "predictions": {"prediction": [float(amount > 1)]}}
        event = replace(answer(number, ""), event_id=f"{name}-{number}", at=utc_text(at), name=name)
        events.append(replace(event, release=f"{name}/1", question=None, answer=None, sample=json.dumps(sample)))
    body = "".join(json.dumps(event.to_dict()) + "\n" for event in events).encode()
    ObjectStore(load(StoreSettings)).put("raw-data-bucket", f"events/day={NOW:%Y-%m-%d}/{name}.jsonl", body)
