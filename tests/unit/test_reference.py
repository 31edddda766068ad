"""How a name, a version and an alias are written: one spelling each, the same everywhere."""

import pytest

from mlflow_project.commands.arguments import two_versions, version_of
from mlflow_project.domain.reference import Reference, alias_named, reference
from mlflow_project.errors import InvalidData, NotFound
from tests.unit.registries import OneName


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("qa", Reference("qa")),
        ("qa/2", Reference("qa", version=2)),
        ("qa@Production", Reference("qa", alias="Production")),
        ("qa@production", Reference("qa", alias="Production")),
        ("sentiment_analysis@blue", Reference("sentiment_analysis", alias="blue")),
    ],
)
def test_a_name_may_carry_a_version_or_an_alias(text: str, wanted: Reference) -> None:
    assert reference(text) == wanted
    assert reference(str(wanted)) == wanted


WRONG = ("", "/2", "@x", "qa@", "qa@a/2", "qa/2@x", "qa/2\n", "qa//2", " qa", "qa/2 ", "qa/ 2")
NO_NUMBERS = ("", "0", "0001", "-1", "+1", "1.0", "١", "9" * 40)


@pytest.mark.parametrize("text", [*WRONG, *(f"qa/{number}" for number in NO_NUMBERS)])
def test_any_other_form_is_refused_with_the_right_ones(text: str) -> None:
    with pytest.raises(InvalidData, match=r"qa/2|whole number"):
        reference(text)


def test_known_aliases_are_taken_in_any_case_and_others_as_written() -> None:
    assert [alias_named(text) for text in ("PRODUCTION", "staging", "Green")] == ["Production", "Staging", "Green"]


def test_a_version_comes_from_the_name_the_alias_or_the_option() -> None:
    registry = OneName("qa", {"Production": 1, "Green": 3})
    for text, option, wanted in (("qa/2", None, 2), ("qa", 4, 4), ("qa@production", None, 1), ("qa@green", 3, 3)):
        assert version_of(reference(text), option, registry) == wanted


def test_no_version_two_versions_or_an_unknown_alias_are_said_plainly() -> None:
    registry = OneName("qa", {"Production": 1})
    with pytest.raises(InvalidData, match="Which version"):
        version_of(reference("qa"), None, registry)
    with pytest.raises(InvalidData, match="two different versions"):
        version_of(reference("qa/2"), 3, registry)
    with pytest.raises(NotFound, match="Its aliases: Production"):
        version_of(reference("qa@Green"), None, registry)
    with pytest.raises(NotFound, match="No prompt or model is named 'faq'"):
        version_of(reference("faq@Production"), None, registry)


@pytest.mark.parametrize(
    ("first", "second", "third"),
    [("qa", "1", "2"), ("qa/1", "qa/2", None), ("qa/1", "2", None), ("qa", "qa/1", "qa/2")],
)
def test_two_versions_are_named_in_any_of_these_ways(first: str, second: str, third: str | None) -> None:
    assert two_versions(reference(first), second, third) == (Reference("qa", 1), Reference("qa", 2))


@pytest.mark.parametrize(("first", "second", "third"), [("qa", "1", None), ("qa/1", "2", "3"), ("qa/1", "faq/2", None)])
def test_one_version_three_or_those_of_two_names_cannot_be_compared(first: str, second: str, third: str | None) -> None:
    with pytest.raises(InvalidData, match=r"versions|compared"):
        two_versions(reference(first), second, third)
