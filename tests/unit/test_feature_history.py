"""The history of an entity's features, against a plain reading of the definition, and under every order of arrival."""

import random

import numpy as np
import pytest

from mlflow_project.rules.features.history import Aggregate, History, Versions, as_of, history

HOUR = 3_600_000_000
AGGREGATES = (
    Aggregate("count_2h", "count", 2 * HOUR),
    Aggregate("sum_3h", "sum", 3 * HOUR, "amount", default=0.0),
    Aggregate("mean_3h", "mean", 3 * HOUR, "amount"),
    Aggregate("max_1h", "max", HOUR, "amount"),
    Aggregate("min_1h", "min", HOUR, "amount"),
    Aggregate("distinct_3h", "distinct", 3 * HOUR, "channel"),
    Aggregate("card_3h", "share", 3 * HOUR, "channel", equal="card"),
    Aggregate("last", "last", 3 * HOUR, "channel", encode=("card", "online"), default=-2.0),
)
Row = tuple[str, int, int, str, float | None, str | None]


def versions(rows: list[Row]) -> Versions:
    ids, times, known, ties, amounts, channels = zip(*rows, strict=True)
    return Versions(
        ids, np.array(times, np.int64), np.array(known, np.int64), ties, {"amount": amounts, "channel": channels}
    )


def by_definition(rows: list[Row], at: int, knowing: int) -> list[float]:
    """Of the versions known by then the newest of each event, inside each window."""
    newest: dict[str, Row] = {}
    for row in sorted(rows, key=lambda one: (one[2], one[3])):
        if row[2] <= knowing:
            newest[row[0]] = row
    held = sorted(newest.values(), key=lambda one: (one[1], one[0]))

    def values(hours: int, column: int) -> list:
        return [one[column] for one in held if at - hours * HOUR < one[1] <= at and one[column] is not None]

    nan = float("nan")
    amounts, recent, channels = values(3, 4), values(1, 4), values(3, 5)
    codes = {"card": 0.0, "online": 1.0}
    return [
        len(values(2, 0)),
        sum(amounts) if amounts else 0.0,
        sum(amounts) / len(amounts) if amounts else nan,
        max(recent, default=nan),
        min(recent, default=nan),
        len(set(channels)),
        channels.count("card") / len(channels) if channels else nan,
        codes.get(channels[-1], -1.0) if channels else -2.0,
    ]


def some_rows(seed: int) -> list[Row]:
    """Late, corrected, moved and simultaneous events on a coarse grid of times, so that ties are common."""
    chance = random.Random(seed)
    rows = []
    for number in range(chance.randint(1, 14)):
        at = chance.randint(0, 12) * HOUR // 2
        for version in range(chance.choice((1, 1, 1, 2, 3))):
            moved = at + (chance.choice((0, 0, HOUR)) if version else 0)
            known = moved + chance.randint(0, 8) * HOUR // 2
            amount = chance.choice((None, 1.0, 2.5, 40.0))
            channel = chance.choice((None, "card", "online", "cheque"))
            rows.append((f"e{number}", moved, known, f"{chance.random():.6f}", amount, channel))
    chance.shuffle(rows)
    return rows


def as_dict(found: History) -> dict[tuple[int, int], list[float]]:
    return {
        (int(at), int(known)): row.tolist()
        for at, known, row in zip(found.event_times, found.known, found.values, strict=True)
    }


@pytest.mark.parametrize("seed", range(60))
def test_each_row_holds_what_the_definition_says(seed: int) -> None:
    rows = some_rows(seed)
    found = as_dict(history(versions(rows), AGGREGATES))
    for (at, known), values in found.items():
        np.testing.assert_allclose(values, by_definition(rows, at, known), rtol=1e-12, err_msg=f"{at} {known}")


@pytest.mark.parametrize("seed", range(60))
def test_what_was_known_later_changes_no_earlier_row(seed: int) -> None:
    rows = some_rows(seed)
    whole = as_dict(history(versions(rows), AGGREGATES))
    for cut in sorted({row[2] for row in rows}):
        early = as_dict(history(versions([row for row in rows if row[2] <= cut]), AGGREGATES))
        assert str(early) == str({pair: row for pair, row in whole.items() if pair[1] <= cut})
        rest = as_dict(history(versions(rows), AGGREGATES, after=cut))
        assert str({**early, **rest}) == str({**early, **{p: r for p, r in whole.items() if p[1] > cut}})


@pytest.mark.parametrize("seed", range(20))
def test_the_order_of_the_rows_does_not_matter_to_the_last_bit(seed: int) -> None:
    rows = some_rows(seed)
    first = history(versions(rows), AGGREGATES)
    random.Random(seed + 1).shuffle(rows)
    again = history(versions(rows), AGGREGATES)
    assert first.values.tobytes() == again.values.tobytes()


@pytest.mark.parametrize("seed", range(60))
def test_between_its_rows_nothing_changes(seed: int) -> None:
    """At each event's time, and for any knowledge that includes it, the newest row is the definition's answer."""
    rows = some_rows(seed)
    found = as_dict(history(versions(rows), AGGREGATES))
    for at in {row[1] for row in rows}:
        for knowing in range(0, 30 * HOUR // 2, HOUR // 2):
            if any(row[1] == at and row[2] <= knowing for row in rows):
                newest = max(known for time, known in found if time == at and known <= knowing)
                np.testing.assert_allclose(found[at, newest], by_definition(rows, at, knowing), rtol=1e-12)


def test_an_event_is_in_the_window_that_begins_just_before_it_and_not_in_the_one_that_begins_at_it() -> None:
    rows: list[Row] = [("a", 0, 0, "", 1.0, None), ("b", 2 * HOUR, 2 * HOUR, "", 1.0, None)]
    found = as_dict(history(versions(rows), AGGREGATES[:2]))
    assert found[2 * HOUR, 2 * HOUR] == [1.0, 2.0]


@pytest.mark.parametrize("seed", range(40))
def test_a_decision_takes_the_newest_row_that_had_happened_and_was_known(seed: int) -> None:
    chance = np.random.default_rng(seed)
    times, known, decisions = (chance.integers(0, 12, size) for size in (20, 20, 30))
    for max_age in (None, 0, 3):
        expected = [
            max(
                (
                    (times[row], known[row])
                    for row in range(20)
                    if times[row] <= at and known[row] <= at and (max_age is None or at - times[row] <= max_age)
                ),
                default=None,
            )
            for at in decisions
        ]
        found = as_of(decisions, times, known, max_age)
        assert [None if row < 0 else (times[row], known[row]) for row in found] == expected
