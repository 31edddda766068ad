"""Strangers send bytes to the ingestion service, and to Kafka.

The attacker holds an API key, or none. He wants a stack trace, a service that answers nobody else, or a record that
nobody can read. He gets a 4xx that says what is wrong.
"""

from __future__ import annotations

import pytest

from ingestion.lines import elements_of
from mlflow_project.errors import InvalidData
from mlflow_project.rules.ingestion import Reason, Stream, Wrong, incompatible, topic_of_stream

SCHEMA = {"type": "object", "required": ["id", "n"], "properties": {"id": {"type": "string"}, "n": {"type": "integer"}}}
POISON: dict[str, tuple[bytes, Reason]] = {
    "empty": (b"", Reason.NOT_JSON),
    "half JSON": (b'{"id": "a", "n"', Reason.NOT_JSON),
    "two objects": (b'{"id": "a", "n": 1}{"id": "b", "n": 2}', Reason.NOT_JSON),
    "a raw NUL": (b'{"id": "a\x00", "n": 1}', Reason.NOT_JSON),
    "an escaped NUL": (b'{"id": "a\\u0000", "n": 1}', Reason.NUL_CHARACTER),
    "an escaped NUL in a list": (b'{"id": "a", "n": 1, "m": [{"\\u0000": 1}]}', Reason.NUL_CHARACTER),
    "invalid UTF-8": (b'{"id": "\xff\xfe", "n": 1}', Reason.NOT_UTF8),
    "half a surrogate": (b'{"id": "\\ud800", "n": 1}', Reason.NOT_JSON),
    "a byte order mark": (b'\xef\xbb\xbf{"id": "a", "n": 1}', Reason.NOT_JSON),
    "not a number": (b'{"id": "a", "n": NaN}', Reason.NOT_JSON),
    "a list": (b'[{"id": "a", "n": 1}]', Reason.NOT_AN_OBJECT),
    "null": (b"null", Reason.NOT_AN_OBJECT),
    "a text": (b'"a"', Reason.NOT_AN_OBJECT),
    "a wrong type": (b'{"id": "a", "n": "1"}', Reason.BREAKS_SCHEMA),
    "a fraction": (b'{"id": "a", "n": 1.5}', Reason.BREAKS_SCHEMA),
    "a missing field": (b'{"id": "a"}', Reason.BREAKS_SCHEMA),
    "an id that is null": (b'{"id": null, "n": 1}', Reason.BREAKS_SCHEMA),
    "deep lists": (b'{"id": "a", "n": ' + b"[" * 100_000, Reason.NOT_JSON),
    "XML": (b"<id>a</id>", Reason.NOT_JSON),
    "Avro": (b"Obj\x01\x04\x14avro.codec\x08null", Reason.NOT_JSON),
}
"""Twenty kinds of records that nobody can use, and why."""


@pytest.mark.parametrize("name", POISON)
def test_no_record_is_an_error_of_the_services(name: str) -> None:
    raw, reason = POISON[name]
    found = Stream("events.test", {1: SCHEMA}).read(raw)
    assert isinstance(found, Wrong)
    assert found.reason is reason
    assert found.sentence


def test_a_version_that_nobody_registered_is_refused() -> None:
    found = Stream("events.test", {1: SCHEMA}).read(b'{"id": "a", "n": 1}', 7)
    assert isinstance(found, Wrong)
    assert found.reason is Reason.UNKNOWN_VERSION


def test_an_added_field_passes() -> None:
    assert Stream("events.test", {1: SCHEMA}).read(b'{"id": "a", "n": 1, "more": true}') == {
        "id": "a",
        "n": 1,
        "more": True,
    }


@pytest.mark.parametrize("body", [b"[1,]", b"[1 2]", b"[", b"[{}", b"[1] 2", b"\xff[", b"[" * 100_000, b"{}"])
def test_a_broken_array_is_refused_as_a_whole(body: bytes) -> None:
    with pytest.raises(InvalidData):
        elements_of(body)


def test_the_elements_of_an_array_keep_their_bytes() -> None:
    assert elements_of(b' [ {"a": 1.50} ,"x",\n[1] ] ') == [b'{"a": 1.50}', b'"x"', b"[1]"]
    assert elements_of(b"[]") == []


@pytest.mark.parametrize(
    "newer",
    [
        {**SCHEMA, "required": ["id", "n", "m"]},
        {**SCHEMA, "properties": {"id": {"type": "string"}}},
        {**SCHEMA, "properties": {"id": {"type": "string"}, "n": {"type": "string"}}},
        {**SCHEMA, "properties": {"id": {"type": "string"}, "n": {"type": "integer", "enum": [1]}}},
    ],
    ids=["requires more", "removes a field", "changes a type", "allows fewer values"],
)
def test_a_schema_that_refuses_older_records_is_refused(newer: dict[str, object]) -> None:
    with pytest.raises(InvalidData, match="does not accept every record"):
        Stream("events.test", {1: SCHEMA, 2: newer})


def test_a_schema_with_more_optional_fields_fits() -> None:
    newer = {**SCHEMA, "properties": {**SCHEMA["properties"], "m": {"type": "string"}}}  # type: ignore[dict-item]
    assert incompatible(SCHEMA, newer) == []


@pytest.mark.parametrize("name", ["", "A", "a/b", "..", "a" * 70, "-a", "ä", "a b"])
def test_a_stream_has_a_plain_name(name: str) -> None:
    with pytest.raises(InvalidData):
        topic_of_stream(name)
