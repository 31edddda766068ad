"""Profiles of a corpus: the same texts again are quiet, other ones are not."""

from __future__ import annotations

from typing import Any

from mlflow_project.rules.drift.profiles import compare


def profile(**changed: Any) -> dict[str, Any]:
    told = {
        "rows": 500,
        "blank": 0,
        "length_quantiles": [float(100 + 40 * step) for step in range(21)],
        "top_terms": [{"term": f"word{number}", "count": 1000 // (number + 1)} for number in range(200)],
        "languages": [{"language": "en", "rows": 480}, {"language": "de", "rows": 20}],
        "topics": [{"topic": number, "share": 0.125} for number in range(8)],
    }
    return {**told, **changed}


def alarms(newer: dict[str, Any]) -> set[str]:
    return {one.check for one in compare(profile(), newer) if one.alarm}


def test_the_same_corpus_is_quiet_and_each_change_shows_under_its_own_name() -> None:
    assert alarms(profile()) == set()
    assert alarms(profile(languages=[{"language": "de", "rows": 300}, {"language": "en", "rows": 200}])) == {
        "corpus language"
    }
    assert alarms(profile(length_quantiles=[float(400 + 80 * step) for step in range(21)])) == {"corpus length"}
    assert alarms(profile(topics=[{"topic": 0, "share": 0.6}, {"topic": 1, "share": 0.4}])) == {"corpus topics"}
    other = [{"term": f"new{number}", "count": 1000 // (number + 1)} for number in range(200)]
    assert alarms(profile(top_terms=other)) == {"corpus words", "corpus new terms"}
