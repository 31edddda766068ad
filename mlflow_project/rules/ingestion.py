"""Checks a record of a stream: its bytes against the stream's JSON schema. The service and the Spark job both use it.

In: bytes as they came. Out: the parsed value, or a `Wrong` with a reason, the place of each mistake and a sentence that
never repeats the record's own words. Pure. The schemas are this project's own files; records may come from anybody.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any

import jsonschema_rs
import orjson

from mlflow_project.errors import InvalidData

RAW_DOCUMENTS = "raw-documents"
RAW_CONVERSATIONS = "raw-conversations"
DEAD_LETTERS = "dead-letters"
EVENTS = "events."
MOST_MISTAKES = 20
MOST_ID = 512

EVENT_ID = "event-id"
SCHEMA_VERSION = "schema-version"
RECEIVED_AT = "received-at"
OWNER = "owner"
REQUEST_ID = "request-id"
TRACEPARENT = "traceparent"
TRIES = "tries"
"""The names of a Kafka record's headers. `event-id` says which records are the same one, sent twice."""

_STREAM = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_TYPES = {"string": "a text", "integer": "a whole number", "number": "a number", "boolean": "true or false"}
_TYPES |= {"object": "an object", "array": "a list", "null": "null"}


class Reason(StrEnum):
    """Why a record is refused over HTTP, or is a dead letter."""

    TOO_LONG = "too_long"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    NUL_CHARACTER = "nul_character"
    UNKNOWN_VERSION = "unknown_version"
    BREAKS_SCHEMA = "breaks_schema"
    WRONG_KEY = "wrong_key"
    CONFLICTING_ID = "conflicting_id"


@dataclass(frozen=True)
class Wrong:
    """A record that is not taken. `mistakes` are pairs of a path (`$.text`) and what is wrong there."""

    reason: Reason
    mistakes: tuple[tuple[str, str], ...]

    @property
    def sentence(self) -> str:
        """All mistakes in one line."""
        return "; ".join(f"{path} {what}" for path, what in self.mistakes)


class Stream:
    """The records of one topic: the JSON schema of each version, and the field that is the Kafka key."""

    def __init__(self, topic: str, schemas: Mapping[int, Mapping[str, Any]]) -> None:
        """Compile the schemas.

        Raises:
            InvalidData: there is no version, one is no JSON schema, or one does not accept what the one before accepts.
        """
        if not schemas:
            raise InvalidData(f"The stream {topic} has no schema: add v1.json to its folder.")
        self.topic = topic
        self._schemas = schemas
        self.newest = max(schemas)
        for older, newer in pairwise(sorted(schemas)):
            if breaks := incompatible(schemas[older], schemas[newer]):
                raise InvalidData(
                    f"Version {newer} of the schema of {topic} does not accept every record of version {older}: "
                    f"{'; '.join(breaks)}. Add optional fields only, or begin a new stream."
                )
        self.key_field = str(schemas[self.newest].get("x-key", "id"))
        try:
            self._checks = {
                version: jsonschema_rs.Draft202012Validator(dict(schema), offline=True, validate_formats=False)
                for version, schema in schemas.items()
            }
        except ValueError as error:
            raise InvalidData(f"A schema of {topic} is no JSON schema: {str(error).splitlines()[0]}") from error

    def __reduce__(self) -> tuple[type[Stream], tuple[str, Mapping[int, Mapping[str, Any]]]]:
        """Pickle the schemas. What was compiled from them cannot be pickled, and is made again."""
        return Stream, (self.topic, self._schemas)

    def read(self, raw: bytes, version: int | None = None) -> dict[str, Any] | Wrong:
        """Parse and check one record. Without a version, the newest one counts."""
        check = self._checks.get(self.newest if version is None else version)
        if check is None:
            known = ", ".join(map(str, sorted(self._checks)))
            return _wrong(Reason.UNKNOWN_VERSION, f"has schema version {version}; {self.topic} has {known}")
        value = _parsed(raw)
        if isinstance(value, Wrong):
            return value
        if check.is_valid(value):
            return value
        mistakes: list[tuple[str, str]] = []
        for error in check.iter_errors(value):
            mistakes.append((_path(error.instance_path), _said(error)))
            if len(mistakes) == MOST_MISTAKES:
                break
        return Wrong(Reason.BREAKS_SCHEMA, tuple(mistakes))

    def key_of(self, value: Mapping[str, Any]) -> str | None:
        """The Kafka key of a record: records with the same key keep their order."""
        key = value.get(self.key_field)
        return key if isinstance(key, str) and key else None


def topic_of_stream(name: str) -> str:
    """The topic of a stream of events.

    Raises:
        InvalidData: the name has other characters than small letters, digits, `-` and `_`.
    """
    if not _STREAM.fullmatch(name):
        raise InvalidData(
            f"{name[:63]!r} is no name of a stream: write a small letter, then small letters, digits, - or _."
        )
    return EVENTS + name


def incompatible(older: Mapping[str, Any], newer: Mapping[str, Any], path: str = "$") -> list[str]:
    """What a newer schema forbids that an older one allows, as far as fields, types, `required` and `enum` say it."""
    found = []
    if (was := _kinds(older)) - (is_now := _kinds(newer)) and is_now:
        found.append(f"{path} was {_either(was or set(_TYPES))} and is {_either(is_now)}")
    found += [
        f"{path} now requires {name!r}" for name in newer.get("required", ()) if name not in older.get("required", ())
    ]
    if "enum" in newer and "enum" not in older:
        found.append(f"{path} allows fewer values")
    if "enum" in newer and (gone := [each for each in older.get("enum", ()) if each not in newer["enum"]]):
        found.append(f"{path} no longer allows {', '.join(map(repr, gone))}")
    fields, before = newer.get("properties", {}), older.get("properties", {})
    found += [f"{path}.{name} was removed" for name in before if name not in fields]
    for name in before.keys() & fields.keys():
        found += incompatible(before[name], fields[name], f"{path}.{name}")
    if isinstance(older.get("items"), Mapping) and isinstance(newer.get("items"), Mapping):
        found += incompatible(older["items"], newer["items"], f"{path}[]")
    return sorted(found)


def is_usable_id(text: str) -> bool:
    """Whether a text may be the id of a record: printable, and not longer than `MOST_ID`."""
    return 0 < len(text) <= MOST_ID and text.isprintable()


def _parsed(raw: bytes) -> dict[str, Any] | Wrong:
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        try:
            raw.decode()
        except UnicodeDecodeError as wrong:
            return _wrong(Reason.NOT_UTF8, f"is not UTF-8 at byte {wrong.start}")
        where = f"at line {error.lineno}, column {error.colno}" if error.pos else "at its beginning"
        return _wrong(Reason.NOT_JSON, f"is no JSON {where}")
    if not isinstance(value, dict):
        return _wrong(Reason.NOT_AN_OBJECT, "is not a JSON object")
    if b"\\u0000" in raw and any("\0" in text for text in _texts(value)):
        return _wrong(Reason.NUL_CHARACTER, "has a text with a NUL character")
    return value


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, each in value.items():
            yield name
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)


def _wrong(reason: Reason, what: str) -> Wrong:
    return Wrong(reason, (("$", what),))


def _path(parts: Any) -> str:
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{str(part)[:100]}" for part in parts)


def _said(error: Any) -> str:
    kind = error.kind
    if kind.name == "type":
        return f"must be {_either(set(kind.types))}"
    if kind.name == "required":
        return f"lacks {str(kind.property).strip(chr(34))!r}"
    limit = getattr(kind, "limit", None)
    return f"breaks {kind.name}" + (f" ({limit})" if limit is not None else "")


def _kinds(schema: Mapping[str, Any]) -> set[str]:
    found = schema.get("type", ())
    return {found} if isinstance(found, str) else set(found)


def _either(kinds: set[str]) -> str:
    return " or ".join(_TYPES.get(kind, kind) for kind in sorted(kinds))
