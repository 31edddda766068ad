"""A small `features.yaml` on local tables, rows for it, and the training set that the definition asks for."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from mlflow_project.training.feature_file import FeatureFile
from mlflow_project.training.files import declaration_from

START = datetime(2026, 3, 28, 20, tzinfo=UTC)
"""A few hours before clocks change in Europe."""
NOW = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp()) * 1_000_000
Rows = Sequence[dict[str, Any]]


def declaration(folder: Path, **changes: Any) -> FeatureFile:
    """Payments of accounts, and whether each is fraud."""
    keys = {"id": "id_", "entity": "account", "event_time": "time", "known_at": "known"}
    columns = {"amount": {"type": "number", "min": 0}, "channel": {"type": "text", "nullable": True}}
    data = {
        "table": str(folder / "features"),
        "events": {"path": str(folder / "events"), **keys, "columns": columns},
        "labels": {
            "path": str(folder / "labels"),
            **keys,
            "columns": {"amount": {"type": "number"}, "fraud": {"type": "boolean"}},
        },
        "label": "fraud",
        "features": {
            "count_3h": {"aggregate": "count", "over": "3h", "default": 0},
            "sum_3h": {"aggregate": "sum", "of": "amount", "over": "3h", "default": 0},
            "last": {"aggregate": "last", "of": "channel", "over": "3h", "encode": ["card", "online"]},
        },
        "inputs": {"amount": {"of": "amount"}, "hour": {"of": "time", "part": "hour"}},
        "age": "age",
        "expectations": {"max_rejected": 0.5, "min_rows": 0},
        **changes,
    }
    return declaration_from(data, FeatureFile, "features.yaml")


def moment(half_hours: float, zone: int = 0) -> str:
    """A time on a coarse grid, written in some time zone."""
    return (START + timedelta(minutes=30 * half_hours)).astimezone(timezone(timedelta(hours=zone))).isoformat()


def event(name: str, at: float, known: float, amount: float = 1.0, zone: int = 0, **more: Any) -> dict[str, Any]:
    """An event of account a, or of another one."""
    times = {"time": moment(at, zone), "known": moment(known, -zone)}
    return {"id_": name, "account": "a", **times, "amount": amount, "channel": "card", **more}


def label(name: str, at: float, known: float | None = None, **more: Any) -> dict[str, Any]:
    """A label, known a week later unless said otherwise."""
    times = {"time": moment(at), "known": moment(at + 336 if known is None else known)}
    return {"id_": name, "account": "a", **times, "amount": 5, "fraud": False, **more}


def write(folder: Path, name: str, rows: Rows, part: int = 0) -> None:
    """Add a file of raw rows."""
    (folder / name).mkdir(exist_ok=True)
    (folder / name / f"part-{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def random_events(seed: int, accounts: str = "abc") -> list[dict[str, Any]]:
    """Late, corrected, moved and simultaneous events in different time zones."""
    chance = random.Random(seed)
    rows = []
    for number in range(60):
        at, account = chance.randint(0, 20), chance.choice(accounts)
        for version in range(chance.choice((1, 1, 1, 2, 3))):
            moved = at + (chance.choice((0, 0, 2, -2)) if version else 0)
            row = event(f"e{number}", moved, moved + chance.choice((0, 0, 1, 4, 12)), round(chance.random() * 90, 2))
            channel = chance.choice(("card", "online", "cheque", None))
            zone = chance.randint(-11, 11)
            row |= {"time": moment(moved, zone), "account": account, "channel": channel}
            rows.append(row)
    return rows


def as_known(events: Rows, account: str, decision: str) -> dict[str, Any]:
    """The features of an account at a decision, by definition: events known by then, in their newest versions."""
    at = datetime.fromisoformat(decision)
    known = [one for one in events if one["account"] == account and datetime.fromisoformat(one["known"]) <= at]
    times = [time for one in known if (time := datetime.fromisoformat(one["time"])) <= at]
    if not times:
        return {"count_3h": 0.0, "sum_3h": 0.0, "last": None, "age": None}
    newest: dict[str, dict[str, Any]] = {}
    for one in sorted(known, key=lambda one: datetime.fromisoformat(one["known"])):
        newest[one["id_"]] = one
    end = max(times)
    window = [
        one
        for one in sorted(newest.values(), key=lambda one: (datetime.fromisoformat(one["time"]), one["id_"]))
        if end - timedelta(hours=3) < datetime.fromisoformat(one["time"]) <= end
    ]
    channels = [one["channel"] for one in window if one["channel"]]
    code = {"card": 0.0, "online": 1.0}.get(channels[-1], -1.0) if channels else None
    age = (at - end).total_seconds()
    return {"count_3h": float(len(window)), "sum_3h": sum(one["amount"] for one in window), "last": code, "age": age}
