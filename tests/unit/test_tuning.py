"""A sweep advises what shows its gain on cases that had no part in choosing it, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlflow_project.adapters.retrieval.index import Index
from mlflow_project.adapters.retrieval.specification import Embedder
from mlflow_project.domain.answer import Case
from mlflow_project.domain.release import Retrieval
from mlflow_project.errors import InvalidData
from mlflow_project.evaluation.tuning.corpus import Corpus
from mlflow_project.evaluation.tuning.measure import FOUND, measure
from mlflow_project.evaluation.tuning.settings import Setting, counts_beside, sizes_beside, splitter_named
from mlflow_project.evaluation.tuning.sweep import Halves, Sweep, can_be_searched, tune_floor, tune_retrieval
from mlflow_project.rules.chunking.splitter import Splitter

PART = "The part {0} fits the machine. Keep it dry and clean. " * 3
DOCUMENTS = tuple(
    (f"d{number}", "Parts", PART.format(f"k{number}z") + f"Its number is m{number}q.") for number in range(60)
)
"""Documents that differ in names which no embedding knows, so words find them and vectors do not."""
CASES = tuple(
    Case(f"c{number}", f"What is the number of k{number}z?", (f"m{number}q",), document_id=f"d{number}")
    for number in range(60)
)


def corpus(embedder: Embedder | None) -> Corpus:
    return Corpus(DOCUMENTS, Splitter(700, 100), embedder, Path("unused"))


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return corpus(Embedder()).cut(Splitter(700, 100), tmp_path_factory.mktemp("index"))


def test_weights_that_are_wrong_are_advised_against_and_nothing_else(index: Index, tmp_path: Path) -> None:
    sweep, halves = Sweep(Setting(Retrieval(2, 0.0, 1.0, fusion="scores"))), Halves.of(CASES)
    tune_retrieval(sweep, index, "there are no documents here", halves, {}, tmp_path)
    weights, size, count = sweep.advice
    assert (weights.question, weights.change) == ("weights", True)
    assert weights.gain is not None
    assert weights.gain.lower > 0
    assert "On 30 held-out cases it finds the passage" in weights.words
    assert sweep.setting.retrieval.words_weight == 1.0
    assert size.words == "Not measured: there are no documents here."
    assert count.present.startswith("words 1")
    assert sweep.setting.splitter is None


def test_what_is_right_already_is_kept_and_fewer_chunks_that_do_as_well_are_advised(
    index: Index, tmp_path: Path
) -> None:
    sweep = Sweep(Setting(Retrieval(5, 1.0, 0.0, fusion="scores")))
    tune_retrieval(sweep, index, corpus(None), Halves.of(CASES), {}, tmp_path)
    weights, size, count = sweep.advice
    assert (weights.change, size.change) == (False, False)
    assert weights.words.startswith("Keep words 1, vectors 0, 5 chunks")
    assert (count.change, sweep.setting.retrieval.chunks) == (True, 1)
    assert {question for question, _ in sweep.measured} == {"weights", "chunk size", "number of chunks"}


def test_chunks_that_cut_the_passages_are_advised_to_be_larger(tmp_path: Path) -> None:
    told = tuple((name, title, f"The part {name}x {'by and by, ' * 8}m{name}q.") for name, title, _ in DOCUMENTS)
    cases = tuple(
        Case(f"c{name}", f"What is {name}x?", (f"m{name}q",), document_id=name, quote=text) for name, _, text in told
    )
    small = Corpus(told, Splitter(80, 0), None, Path("unused"))
    sweep = Sweep(Setting(Retrieval(1, 1.0, 0.0, fusion="scores")))
    tune_retrieval(sweep, small.cut(Splitter(80, 0), tmp_path), small, Halves.of(cases), {}, tmp_path)
    size = next(each for each in sweep.advice if each.question == "chunk size")
    assert size.change
    assert sweep.setting.splitter is not None
    assert sweep.setting.splitter.size == 160


def test_a_floor_is_chosen_on_one_half_and_checked_on_the_other() -> None:
    halves = Halves.of(CASES)

    def correct(floor: float, cases: tuple[Case, ...]) -> tuple[float, ...]:
        lucky = cases == halves.choosing
        return tuple(float(at % 2 == 0 or floor == 0.2 or (floor == 0.6 and lucky)) for at in range(len(cases)))

    sweep = Sweep(Setting(Retrieval()))
    tune_floor(sweep, halves, 0.4, correct)  # type: ignore[arg-type]
    assert (sweep.advice[0].change, sweep.floor) == (True, 0.2)
    sweep = Sweep(Setting(Retrieval()))
    tune_floor(sweep, halves, 0.2, correct)  # type: ignore[arg-type]
    assert (sweep.advice[0].change, sweep.floor) == (False, 0.2)


def test_halves_are_disjoint_and_the_same_each_time_and_few_cases_are_refused() -> None:
    halves = Halves.of(CASES)
    assert {case.id for case in halves.choosing} | {case.id for case in halves.held_out} == {case.id for case in CASES}
    assert (len(halves.choosing), len(halves.held_out)) == (30, 30)
    assert Halves.of(CASES[::-1]) == halves
    with pytest.raises(InvalidData, match="29 cases name the passage"):
        Halves.of(CASES[:29])
    assert not can_be_searched(Case("a", "no answer", (), document_id="d"))
    assert not can_be_searched(Case("a", "no place", ("b",)))


def test_a_setting_that_gives_less_text_is_measured_by_the_chunks_that_it_gives(index: Index) -> None:
    one, five = (measure(index, Setting(Retrieval(count, 0.0, 1.0, fusion="scores")), CASES, {}) for count in (1, 5))
    assert one.mean("strict_hit_at_5") == five.mean("strict_hit_at_5") == five.mean(FOUND)
    assert one.mean(FOUND) == one.mean("strict_hit_at_1")
    assert one.characters < five.characters


def test_sizes_keep_the_amount_of_text_and_a_table_says_its_splitter() -> None:
    found = sizes_beside(Setting(Retrieval(4)), Splitter(700, 100))
    assert {(each.splitter.size, each.retrieval.chunks) for each in found if each.splitter} == {
        (350, 8),
        (700, 4),
        (1400, 2),
    }
    assert found[0].splitter == Splitter(700, 100)
    assert splitter_named(Splitter(300, 30, "tokens").name) == Splitter(300, 30, "tokens")
    assert splitter_named("another splitter") is None
    assert next(iter(counts_beside(Setting(Retrieval(4))))).retrieval.chunks == 4
