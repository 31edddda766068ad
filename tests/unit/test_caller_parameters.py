"""Which generation parameters of a request take effect."""

import pytest

from mlflow_project.domain.release import CallerOptions
from mlflow_project.errors import InvalidData
from mlflow_project.rules.caller_parameters import overrides_and_ignored

COOL = CallerOptions({"temperature": (0.0, 0.5), "max_tokens": (1.0, 100.0)})


def test_without_options_everything_that_a_caller_asks_is_ignored_and_named() -> None:
    assert overrides_and_ignored(None, {"temperature": 1.0, "seed": 3, "top_p": None}) == ({}, ("temperature", "seed"))


def test_an_allowed_override_within_its_bounds_takes_effect() -> None:
    assert overrides_and_ignored(COOL, {"temperature": 0.5, "max_tokens": 20, "stop": ["x"]}) == (
        {"temperature": 0.5, "max_tokens": 20},
        ("stop",),
    )


@pytest.mark.parametrize("value", [0.51, -1, True, "0.1", float("nan")])
def test_an_override_outside_its_bounds_is_refused_in_words(value: object) -> None:
    with pytest.raises(InvalidData, match=r"`temperature` must be a number from 0 to 0\.5"):
        overrides_and_ignored(COOL, {"temperature": value})


def test_a_release_can_refuse_all_other_parameters() -> None:
    with pytest.raises(InvalidData, match=r"does not let a caller set seed. It takes temperature\."):
        overrides_and_ignored(CallerOptions({"temperature": (0.0, 1.0)}, "refuse"), {"temperature": 1, "seed": 4})
