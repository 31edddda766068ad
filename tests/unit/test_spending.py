"""Rate limits and budgets: exact within a worker, shared with the others, reserved before and settled after."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from mlflow_project.allowances import windows
from mlflow_project.api_keys import ApiKey
from mlflow_project.domain.answer import Answer, Usage
from mlflow_project.domain.release import Manifest, Prices, ProviderChoice, Release
from mlflow_project.errors import Exhausted, InvalidData, ProviderError
from mlflow_project.telemetry.meters import Meters
from mlflow_project.web.counts import SharedCounts
from serving.live.spending import Reservation, Spending

YEAR = "year"
"""Tests count in windows so long that none of them turns while a test runs."""


def spending(folder: Path, worker: str = "one", reserve: int = 100, **limits: str) -> Spending:
    counts = SharedCounts(folder, worker)
    counts.start()
    made = Spending(counts, limits, reserve, Meters())
    made.counts = counts  # type: ignore[attr-defined]
    return made


def share(*workers: Spending) -> None:
    for _ in range(2):
        for worker in workers:
            worker.counts.exchange()  # type: ignore[attr-defined]


def key(id: str, **limits: str) -> ApiKey:
    return ApiKey(id, "anna", ("call",), "", "", limits=limits)


def release(**pinned: object) -> Release:
    provider = ProviderChoice("openai", "simulated-1", pinned)
    return Release(1, "sha256:1", Manifest("prompt", "qa", provider=provider, prices=Prices("2026-11", 1.0, 2.0)))


def answer(tokens: int | None, usd: float | None = None, text: str = "") -> Answer:
    return Answer(text, None, (), (), Usage(total_tokens=tokens), None, False, usd, 0.0)


def let_in(worker: Spending, caller: ApiKey | None = None, tries: int = 20) -> int:
    count = 0
    for _ in range(tries):
        try:
            worker.admit(caller)
            count += 1
        except Exhausted:
            pass
    return count


@dataclass
class Kept:
    """What a test says came of a request."""

    reservation: Reservation
    answer: Answer | None = None


@contextmanager
def reserved(worker: Spending, of: Release, characters: int = 0) -> Iterator[Kept]:
    """A request that ends with the block, as the server settles it."""
    kept = Kept(worker.reserve(None, of, characters))
    try:
        yield kept
    except BaseException as error:
        worker.settle(kept.reservation, kept.answer, error)
        raise
    worker.settle(kept.reservation, kept.answer, None)


def test_exactly_as_many_requests_are_let_in_as_the_limit_says(tmp_path: Path) -> None:
    assert let_in(spending(tmp_path, requests=f"7/{YEAR}")) == 7


def test_the_caller_is_told_when_to_come_back(tmp_path: Path) -> None:
    worker = spending(tmp_path, requests=f"1/{YEAR}")
    worker.admit(None)
    with pytest.raises(Exhausted, match="1 requests per 1 year are used up") as no:
        worker.admit(None)
    assert no.value.retry_after >= 1


def test_callers_do_not_use_up_each_others_limits_and_a_key_may_have_its_own(tmp_path: Path) -> None:
    worker = spending(tmp_path, requests=f"3/{YEAR}")
    assert let_in(worker, key("a")) == 3
    assert let_in(worker, key("b")) == 3
    assert let_in(worker, key("c", requests=f"5/{YEAR}")) == 5


def test_what_other_workers_let_in_counts_once_it_was_shared(tmp_path: Path) -> None:
    one, two = (spending(tmp_path, name, requests=f"10/{YEAR}") for name in ("one", "two"))
    assert let_in(one, tries=6) == 6
    share(one, two)
    assert let_in(two) == 4
    share(one, two)
    assert (let_in(one), let_in(two)) == (0, 0)


def test_counts_outlive_a_restart_and_a_worker_that_died(tmp_path: Path) -> None:
    limits = {"requests": f"10/{YEAR}"}
    one, two = spending(tmp_path, "one", **limits), spending(tmp_path, "two", **limits)
    let_in(one, tries=3)
    let_in(two, tries=3)
    share(one, two)
    assert let_in(spending(tmp_path, "one", **limits)) == 4


def test_a_damaged_file_of_another_worker_counts_nothing(tmp_path: Path) -> None:
    worker = spending(tmp_path, requests=f"2/{YEAR}")
    (tmp_path / "other.json").write_text('{"a": 1')
    share(worker)
    assert let_in(worker) == 2


def test_tokens_are_reserved_and_settled_with_what_was_used(tmp_path: Path) -> None:
    worker = spending(tmp_path, tokens=f"250/{YEAR}")
    with reserved(worker, release()) as first, reserved(worker, release()) as second:
        with pytest.raises(Exhausted, match="tokens"), reserved(worker, release()):
            pass
        first.answer, second.answer = answer(10), answer(20)
    with reserved(worker, release(max_tokens=220)) as third:
        third.answer = answer(300)  # beyond its reservation: let through, and counted
    with pytest.raises(Exhausted), reserved(worker, release(max_tokens=1)):
        pass


def test_an_error_costs_nothing_and_a_caller_who_leaves_pays_what_was_reserved(tmp_path: Path) -> None:
    worker = spending(tmp_path, tokens=f"150/{YEAR}")
    for _ in range(5):
        with pytest.raises(ProviderError), reserved(worker, release()):
            raise ProviderError("down", kind="transport")
    with pytest.raises(KeyboardInterrupt), reserved(worker, release()):
        raise KeyboardInterrupt
    with pytest.raises(Exhausted), reserved(worker, release()):
        pass


def test_what_is_given_back_after_a_window_turned_is_no_credit_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000 * 60.0
    monkeypatch.setattr("time.time", lambda: now)
    worker = spending(tmp_path, tokens="100/minute")
    now += 59
    with reserved(worker, release()) as kept:
        now += 60
        kept.answer = answer(10)
    for _ in range(10):
        with reserved(worker, release(max_tokens=10)) as kept:
            kept.answer = answer(10)
    with pytest.raises(Exhausted), reserved(worker, release(max_tokens=10)):
        pass


def test_dollars_are_counted_by_the_releases_prices(tmp_path: Path) -> None:
    worker = spending(tmp_path, usd=f"0.001/{YEAR}")
    with reserved(worker, release()) as kept:
        kept.answer = answer(700, usd=0.0009)
    with pytest.raises(Exhausted, match=r"0\.001 usd"), reserved(worker, release()):
        pass


def test_an_answer_without_counts_is_counted_by_its_length(tmp_path: Path) -> None:
    worker = spending(tmp_path, tokens=f"1000/{YEAR}")
    with reserved(worker, release(), 400) as kept:
        kept.answer = answer(None, text="x" * 3200)
    with pytest.raises(Exhausted), reserved(worker, release(max_tokens=101)):
        pass


@pytest.mark.parametrize("text", ["60", "0/minute", "sixty/minute", "-1/day", "5/fortnight"])
def test_a_limit_that_cannot_be_read_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidData):
        windows({"requests": text})


def test_limits_are_read_as_people_write_them() -> None:
    found = windows({"requests": "10/second; 300 per 5 minutes", "usd": "2.50/day"})
    assert [(one.amount, one.get_expiry()) for one in found["requests"]] == [(10, 1), (300, 300)]
    assert [one.amount for one in found["usd"]] == [2_500_000]
    with pytest.raises(InvalidData, match="There is no limit of words"):
        windows({"words": "1/day"})
