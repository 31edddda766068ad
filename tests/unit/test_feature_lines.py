"""A raw event is read strictly: what is no value of its type is rejected with a sentence, never silently made null."""

import orjson
import pytest

from mlflow_project.rules.features.lines import Rejected, read_event

FIELDS = {"id": "text", "at": "time", "n": "number", "i": "integer", "yes": "boolean"}


def read(**values: object) -> dict:
    return read_event(orjson.dumps(values), FIELDS)  # type: ignore[arg-type]


def test_typed_values_come_out_and_missing_fields_are_none() -> None:
    found = read(id="ä", at="1970-01-01T01:00:00+01:00", n=2, i=3, yes=True, more="ignored")
    assert found == {"id": "ä", "at": 0, "n": 2.0, "i": 3.0, "yes": True}
    assert read() == dict.fromkeys(FIELDS)


@pytest.mark.parametrize(
    "text", ["2026-01-01T00:00:00Z", "2026-01-01T05:45:00+05:45", "2025-12-31T12:00:00.000000-12:00"]
)
def test_one_moment_in_every_time_zone_is_one_number(text: str) -> None:
    assert read(at=text)["at"] == 1_767_225_600_000_000


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", 7),
        ("id", ["x"]),
        ("at", "2026-01-01T00:00:00"),
        ("at", "2026-01-01"),
        ("at", "yesterday"),
        ("at", 1_767_225_600),
        ("at", True),
        ("n", "12.5"),
        ("n", True),
        ("n", "NaN"),
        ("i", 1.5),
        ("i", 2**53 + 1),
        ("i", False),
        ("yes", 1),
        ("yes", "true"),
    ],
)
def test_a_value_of_another_type_is_rejected_by_name(field: str, value: object) -> None:
    with pytest.raises(Rejected, match=f"^{field} is ") as caught:
        read(**{field: value})
    assert caught.value.reason == "wrong_type"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "not_json"),
        (b'{"n": NaN}', "not_json"),
        (b'{"n": 1} {"n": 2}', "not_json"),
        (b'{"id": "\xff"}', "not_json"),
        (b'{"id": "\\ud800"}', "not_json"),
        (b"[1]", "not_an_object"),
        (b'"text"', "not_an_object"),
        (b"[" * 100_000, "not_json"),
    ],
)
def test_a_line_that_is_no_json_object_is_rejected(line: bytes, reason: str) -> None:
    with pytest.raises(Rejected) as caught:
        read_event(line, FIELDS)  # type: ignore[arg-type]
    assert caught.value.reason == reason


def test_a_number_too_large_for_a_float_is_rejected() -> None:
    with pytest.raises(Rejected):
        read_event(b'{"n": 1' + b"0" * 400 + b"}", {"n": "number"})
