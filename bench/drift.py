"""How often drift cries wolf, and how fast it sees a real change: months of windows from BANKING77's questions.

`python -m bench.drift [--months N]`. A release's reference is 2,000 questions, a day's window 500. Quiet months draw
every day from the same mix of 77 intents. In the others something changes on day 10: ten intents are asked for five
times as often, at once or a tenth of that more each day; or one intent that there was not becomes a tenth of all.
Casanueva and others' data (2020), CC-BY 4.0, in `../shared/data/banking77`.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.public_data import data_set
from bench.report import Measure, report
from mlflow_project.adapters.retrieval.embeddings import embed
from mlflow_project.rules.drift.calibration import alpha_for
from mlflow_project.rules.drift.traffic import Traffic
from mlflow_project.rules.drift.windows import Baseline

REFERENCE, WINDOW, DAYS, CHANGE = 2_000, 500, 30, 10
NEW_SHARE, OFTEN = 0.1, 10
Random = np.random.Generator
Weights = NDArray[np.float64]


@dataclass(frozen=True)
class Questions:
    """All questions, and the number of each one's intent."""

    all: Traffic
    intents: NDArray[np.intp]

    def drawn(self, random: Random, count: int, weights: Weights) -> Traffic:
        """So many different questions, by the weight of their intent."""
        each = (weights / np.bincount(self.intents))[self.intents]
        return self.all.rows(random.choice(len(self.all), count, replace=False, p=each / each.sum()))


Day = Callable[[int], Weights]


def main() -> None:
    """Measure all months, where the data set is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--months", type=int, default=3)
    months = parser.parse_args().months
    folder = data_set("banking77", "BANKING77: Casanueva and others, 2020, CC-BY 4.0", "all of bench.drift")
    if folder is None:
        return
    questions = load(folder)
    report("drift", [*quiet(questions, months), *changes(questions, months)], f"Drift on BANKING77, {months} months")


def load(folder: Path) -> Questions:
    """Read both of BANKING77's files."""
    files = [folder / f"{name}.csv" for name in ("train", "test")]
    rows = [row for file in files for row in csv.DictReader(file.open(encoding="utf-8"))]
    texts = [row["text"] for row in rows]
    _, intents = np.unique([row["category"] for row in rows], return_inverse=True)
    return Questions(Traffic.of(texts, embed(texts)), intents)


def quiet(questions: Questions, months: int) -> Iterator[Measure]:
    """A/A: every alarm is false."""
    began = time.perf_counter()
    even = np.ones(questions.intents.max() + 1)
    alarms = [sum(month(questions, seed, even, lambda day: even)) for seed in range(months)]
    seconds = (time.perf_counter() - began) / months / DAYS
    at_most_one = sum(count <= 1 for count in alarms) / months
    mean = sum(alarms) / months
    yield Measure("false alarms in a quiet month, mean", mean, "alarms", goal="<= 1", met=mean <= 1)
    yield Measure(
        "quiet months with at most one false alarm", at_most_one, "share", goal=">= 0.95", met=at_most_one >= 0.95
    )
    yield Measure("false alarms in the worst of the quiet months", max(alarms), "alarms", f"{months} months")
    yield Measure("time a window, calibration shared by its month", seconds, "s")


def changes(questions: Questions, months: int) -> Iterator[Measure]:
    """Real changes: the share of changed days that alarm, and the days until the first alarm."""
    kinds = int(questions.intents.max()) + 1
    for what, goal, days in (
        ("ten intents five times as often, at once", 1, at_once),
        ("the same in ten daily steps", 7, slowly),
        ("one new intent, a tenth of the questions", 3, new_topic),
    ):
        found = []
        for seed in range(months):
            before, day = days(np.random.default_rng(1_000 + seed), kinds)
            found.append(month(questions, 500 + seed, before, day))
        power = float(np.mean([alarms[CHANGE:] for alarms in found]))
        delays = [next((n for n, alarm in enumerate(alarms[CHANGE:]) if alarm), DAYS - CHANGE) + 1 for alarms in found]
        delay = float(np.median(delays))
        yield Measure(f"{what}: windows that alarm", power, "share")
        yield Measure(
            f"{what}: days until the alarm, median",
            delay,
            "days",
            f"worst {max(delays)}",
            None,
            f"<= {goal}",
            delay <= goal,
        )


def at_once(random: Random, kinds: int) -> tuple[Weights, Day]:
    """From day 10 on, ten intents are asked for five times as often."""
    return _from_day(random, kinds, lambda day: 4.0)


def slowly(random: Random, kinds: int) -> tuple[Weights, Day]:
    """From day 10 on, a tenth of that is added each day."""
    return _from_day(random, kinds, lambda day: min(4.0, 0.4 * (day - CHANGE + 1)))


def _from_day(random: Random, kinds: int, added: Callable[[int], float]) -> tuple[Weights, Day]:
    often = random.permutation(kinds) < OFTEN
    even = np.ones(kinds)
    return even, lambda day: even + often * (added(day) if day >= CHANGE else 0.0)


def new_topic(random: Random, kinds: int) -> tuple[Weights, Day]:
    """From day 10 on, a tenth of the questions have an intent that there was not."""
    before = np.ones(kinds)
    new = int(random.integers(kinds))
    before[new] = 0.0
    after = before.copy()
    after[new] = NEW_SHARE / (1 - NEW_SHARE) * (kinds - 1)
    return before, lambda day: after if day >= CHANGE else before


def month(questions: Questions, seed: int, before: Weights, day: Day) -> list[bool]:
    """Whether each day of a month alarms, against a reference of its own."""
    random = np.random.default_rng(seed)
    baseline = Baseline(questions.drawn(random, REFERENCE, before), seed)
    windows = (questions.drawn(random, WINDOW, day(number)) for number in range(DAYS))
    return [baseline.judge(window, alpha_for(24))[0].alarm for window in windows]


if __name__ == "__main__":
    main()
