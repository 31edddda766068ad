"""Payments of accounts over time, and later the answer which were fraud. Seeded: equal arguments give equal bytes.

The recipe. An account has its own pace (0.3 to 1.5 payments a day), its own typical amount, favourite channel and four
merchants, and pays by day rather than by night. Now and then it buys much in one hour, as before a journey. One account
in eight is taken over once: three to nine payments in two hours, mostly online, often abroad, of 0.5 to 4 times the
usual amount, to merchants it never had. About 1.3 % of the payments are fraud.

When a payment is known: mostly after seconds; 3 % are late by hours, 0.5 % by days; 1 % are corrected a day later.
When a label is known: fraud is reported after 2 to 20 days, everything else counts as honest after 20 days; 4 % of the
fraud is reported after that, as a correction.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

START = datetime(2025, 1, 1, tzinfo=UTC)
Row = dict[str, Any]


def fraud_rows(accounts: int = 300, days: int = 60, seed: int = 7, taken_over: float = 0.125) -> dict[str, list[Row]]:
    """`transactions` and `labels`, each in the order in which it became known.

    `taken_over` is the share of accounts with fraud: few accounts need a larger one to have enough of it.
    """
    chance = random.Random(seed)
    payments = [row for number in range(accounts) for row in _account(chance, f"a{number:05}", days, taken_over)]
    payments.sort(key=lambda row: (row["time"], row["account_id"]))
    transactions, labels = [], []
    for number, row in enumerate(payments):
        identified = {"transaction_id": f"t{number:07}", **row}
        transactions += list(_versions(chance, identified))
        labels += list(_labels(chance, identified))
    return {name: _in_order(rows) for name, rows in (("transactions", transactions), ("labels", labels))}


def _account(chance: random.Random, account: str, days: int, taken_over: float) -> Iterator[Row]:
    usual, pace = chance.lognormvariate(3.2, 0.6), chance.uniform(0.3, 1.5)
    channel = chance.choice(("card", "card", "online", "transfer"))
    merchants = [f"m{chance.randint(0, 9999):04}" for _ in range(4)]

    def payment(at: datetime, amount: float, fraud: bool, **changes: Any) -> Row:
        own = channel if chance.random() < 0.7 else chance.choice(("card", "online", "transfer"))
        row = {"account_id": account, "time": at, "amount": round(max(0.5, amount), 2), "channel": own}
        where = {"abroad": chance.random() < 0.04, "merchant": chance.choice([*merchants, None])}
        return {**row, **where, "is_fraud": fraud, **changes}

    for day in range(days):
        busy = chance.random() < 0.01
        for _ in range(chance.randint(3, 7) if busy else _poisson(chance, pace)):
            hour = 18 + chance.random() if busy else min(23.99, max(0.0, chance.gauss(14, 4)))
            amount = usual * chance.lognormvariate(0.4 if busy else 0.0, 0.5)
            yield payment(START + timedelta(days=day, hours=hour), amount, False)
    if chance.random() < taken_over:
        begin = START + timedelta(days=chance.uniform(2, days))
        for _ in range(chance.randint(3, 9)):
            taken = {
                "channel": "online" if chance.random() < 0.85 else "card",
                "abroad": chance.random() < 0.5,
                "merchant": f"m{chance.randint(0, 9999):04}",
            }
            at = begin + timedelta(hours=chance.uniform(0, 2))
            yield payment(at, usual * chance.uniform(0.5, 4), True, **taken)


def _versions(chance: random.Random, row: Row) -> Iterator[Row]:
    """The payment as it became known, and its correction if there is one."""
    lot = chance.random()
    late = 3 * 86_400 * chance.random() if lot < 0.005 else 6 * 3_600 * chance.random() if lot < 0.035 else 0.0
    known = row["time"] + timedelta(seconds=late + chance.expovariate(1 / 20))
    seen = {name: value for name, value in row.items() if name != "is_fraud"}
    yield {**seen, "known_at": known}
    if chance.random() < 0.01:
        yield {
            **seen,
            "amount": round(row["amount"] * chance.uniform(0.5, 1.5), 2),
            "known_at": known + timedelta(days=1),
        }


def _labels(chance: random.Random, row: Row) -> Iterator[Row]:
    """What became known about the payment, and when."""
    seen = {name: row[name] for name in ("transaction_id", "account_id", "time", "amount", "channel", "abroad")}
    at, reported = row["time"], row["time"] + timedelta(days=chance.uniform(2, 20))
    if row["is_fraud"] and chance.random() < 0.04:
        yield {**seen, "is_fraud": False, "known_at": at + timedelta(days=20)}
        yield {**seen, "is_fraud": True, "known_at": at + timedelta(days=chance.uniform(21, 40))}
    else:
        known = reported if row["is_fraud"] else at + timedelta(days=20)
        yield {**seen, "is_fraud": row["is_fraud"], "known_at": known}


def _in_order(rows: list[Row]) -> list[Row]:
    ordered = sorted(rows, key=lambda row: (row["known_at"], row["transaction_id"]))
    return [{name: _spelt(value) for name, value in row.items()} for row in ordered]


def _spelt(value: Any) -> Any:
    return value.isoformat(timespec="microseconds") if isinstance(value, datetime) else value


def _poisson(chance: random.Random, mean: float) -> int:
    """Knuth's method; good for small means."""
    limit, count, product = math.exp(-mean), 0, chance.random()
    while product > limit:
        count, product = count + 1, product * chance.random()
    return count
