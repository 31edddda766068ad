"""Asks four questions about a release's retrieval, one after the other: weights, size of chunks, number of chunks, and
the floor of an extractive provider.

In: a release's index, its setting and cases. Out: for each question what was measured, and an advice. The first half of
the cases chooses a setting, and the other half checks it against the present one: what was chosen because it looked
best must show its gain on cases that had no part in the choice.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlflow_project.adapters.retrieval.index import Index
from mlflow_project.domain.answer import Case
from mlflow_project.errors import InvalidData
from mlflow_project.evaluation.tuning.corpus import Corpus
from mlflow_project.evaluation.tuning.measure import FOUND, TIE, Interval, Measured, Vectors, difference, measure
from mlflow_project.evaluation.tuning.settings import (
    FLOORS,
    Setting,
    counts_beside,
    sizes_beside,
    weights_beside,
)

LEAST_CASES = 30
CHECK_CONFIDENCE = 1 - 0.05 / 4
"""Four advices rest on the same held-out cases, so that each is held to a quarter of 5 %."""
NO_WORSE = 0.02
"""Fewer chunks are advised if the share of passages found falls by less than this."""

Correct = Callable[[float, Sequence[Case]], tuple[float, ...]]
"""Answers cases with a floor, and returns which answers are right."""


@dataclass(frozen=True)
class Advice:
    """The answer to one question. `gain` is measured on the held-out half; None: nothing was proposed or measured."""

    question: str
    present: str
    proposed: str
    gain: Interval | None
    change: bool
    words: str


@dataclass
class Sweep:
    """What was measured. `setting` is the present setting with every change that is advised; `floor` likewise."""

    setting: Setting
    floor: float | None = None
    measured: list[tuple[str, Measured]] = field(default_factory=list)
    floors: list[tuple[float, Interval]] = field(default_factory=list)
    advice: list[Advice] = field(default_factory=list)


@dataclass(frozen=True)
class Halves:
    """The cases that choose, and those that check."""

    choosing: tuple[Case, ...]
    held_out: tuple[Case, ...]

    @classmethod
    def of(cls, cases: Sequence[Case]) -> Halves:
        """Two halves, the same ones whenever the same cases come.

        Raises:
            InvalidData: there are too few.
        """
        if len(cases) < LEAST_CASES:
            raise InvalidData(
                f"{len(cases)} cases name the passage that a search should find (an expected answer, with `quote` or "
                f"`document_id`). At least {LEAST_CASES} are needed: fewer cannot tell a better setting from luck."
            )
        ordered = sorted(cases, key=lambda case: hashlib.sha256(case.id.encode()).digest())
        return cls(tuple(ordered[::2]), tuple(ordered[1::2]))


def can_be_searched(case: Case) -> bool:
    """Whether a case says which passage a search should find."""
    return bool(case.expected) and bool(case.quote or case.document_id)


def tune_retrieval(
    sweep: Sweep, index: Index, corpus: Corpus | str, halves: Halves, vectors: Vectors, scratch: Path
) -> None:
    """Ask the first three questions. `corpus` is a reason if documents cannot be cut anew."""
    look = _Looking(sweep, halves, vectors)
    found = look.best(
        "weights", [(each, index) for each in weights_beside(sweep.setting, has_vectors=index.has_vectors)]
    )
    look.check("weights", (sweep.setting, index), found, _more)
    if isinstance(corpus, str):
        sweep.advice.append(Advice("chunk size", sweep.setting.name, "", None, False, f"Not measured: {corpus}."))
    else:
        index = _sizes(look, corpus, index, scratch)
    counts = [(each, index) for each in counts_beside(sweep.setting)]
    look.check("number of chunks", (sweep.setting, index), look.enough(counts), _more_or_as_much)


def tune_floor(sweep: Sweep, cases: Halves, present: float, correct: Correct) -> None:
    """Ask the fourth question, on all cases, also those without an answer: a floor decides when to say so."""
    scored = {floor: correct(floor, cases.choosing) for floor in dict.fromkeys((present, *FLOORS))}
    sweep.floors = [(floor, Interval.of(values)) for floor, values in scored.items()]
    best = max(scored, key=lambda floor: (sum(scored[floor]), floor == present))
    sweep.floor = present
    if best == present:
        words = f"Keep the floor of {present:g}: no other one answers more cases correctly."
        sweep.advice.append(Advice("floor", f"{present:g}", f"{present:g}", None, False, words))
        return
    pairs = zip(correct(best, cases.held_out), correct(present, cases.held_out), strict=True)
    gain = Interval.of([a - b for a, b in pairs], CHECK_CONFIDENCE)
    change = gain.lower > 0
    sweep.floor = best if change else present
    words = _words("floor", f"{present:g}", f"{best:g}", gain, change, len(cases.held_out), "answers correctly")
    sweep.advice.append(Advice("floor", f"{present:g}", f"{best:g}", gain, change, words))


Candidate = tuple[Setting, Index]


class _Looking:
    """Measures candidates on the first half, and checks the chosen one on the other."""

    def __init__(self, sweep: Sweep, halves: Halves, vectors: Vectors) -> None:
        self.sweep, self._halves, self._vectors = sweep, halves, vectors

    def best(self, question: str, candidates: Sequence[Candidate]) -> Candidate:
        """The candidate that finds the passage most often; the first one, if others find it as often."""
        measured = self._measured(question, candidates)
        places = range(len(candidates))
        return candidates[max(places, key=lambda at: (measured[at].mean(FOUND), measured[at].mean(TIE), -at))]

    def enough(self, candidates: Sequence[Candidate]) -> Candidate:
        """The candidate with the fewest chunks beside which no larger number finds significantly more."""
        measured = self._measured("number of chunks", candidates)
        by_count = sorted(zip(measured, candidates, strict=True), key=lambda pair: pair[0].setting.retrieval.chunks)
        for at, (one, candidate) in enumerate(by_count):
            if not any(difference(other, one).lower > 0 for other, _ in by_count[at + 1 :]):
                return candidate
        return by_count[-1][1]

    def check(
        self,
        question: str,
        present: Candidate,
        proposed: Candidate,
        is_better: Callable[[Interval, Measured, Measured], bool],
    ) -> bool:
        """Compare both on the held-out half, and advise the change if it is better there. Returns whether it is."""
        now, then = present[0].name, proposed[0].name
        if proposed[0] == present[0]:
            self.sweep.advice.append(Advice(question, now, then, None, False, f"Keep {now}: nothing found more."))
            return False
        cases = self._halves.held_out
        before, after = (measure(index, setting, cases, self._vectors) for setting, index in (present, proposed))
        gain = difference(after, before, CHECK_CONFIDENCE)
        change = is_better(gain, after, before)
        words = _words(question, now, then, gain, change, len(cases), "finds the passage")
        words += f" A provider gets {after.characters:,.0f} characters of text then, and {before.characters:,.0f} now."
        self.sweep.advice.append(Advice(question, now, then, gain, change, words))
        if change:
            self.sweep.setting = proposed[0]
        return change

    def _measured(self, question: str, candidates: Sequence[Candidate]) -> list[Measured]:
        found = [measure(index, setting, self._halves.choosing, self._vectors) for setting, index in candidates]
        self.sweep.measured += [(question, each) for each in found]
        return found


def _sizes(look: _Looking, corpus: Corpus, index: Index, scratch: Path) -> Index:
    """Ask about the size of chunks. Returns the index of the size that is advised."""
    sweep = look.sweep
    settings = sizes_beside(sweep.setting, corpus.splitter)
    indexes: list[Index] = []
    for setting in settings:
        assert setting.splitter is not None
        indexes.append(corpus.cut(setting.splitter, Path(tempfile.mkdtemp(dir=scratch))))
    candidates = list(zip(settings, indexes, strict=True))
    if look.check("chunk size", candidates[0], look.best("chunk size", candidates), _more):
        return indexes[settings.index(sweep.setting)]
    return index


def _more(gain: Interval, after: Measured, before: Measured) -> bool:
    return gain.lower > 0


def _more_or_as_much(gain: Interval, after: Measured, before: Measured) -> bool:
    fewer = after.setting.retrieval.chunks < before.setting.retrieval.chunks
    return gain.lower > (-NO_WORSE if fewer else 0)


def _words(question: str, now: str, then: str, gain: Interval, change: bool, cases: int, does: str) -> str:
    bounds = f"{100 * gain.lower:+.1f} to {100 * gain.upper:+.1f}, {100 * (2 * CHECK_CONFIDENCE - 1):.1f} % interval"
    measured = f"On {cases} held-out cases it {does} {100 * gain.mean:+.1f} points more often ({bounds})."
    if change:
        return f"Change the {question}: from {now} to {then}. {measured}"
    return f"Keep the {question}: {now}. {then} looked better on the first half. {measured} That may be luck."
