"""Reads one JSON line as a document, or rejects it for one of the enumerated reasons. Strict: nothing is guessed,
converted or dropped in silence.

In: the bytes of a line and the names of its fields. Out: `Document` or `Rejected`. Pure.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import orjson

_BOM = b"\xef\xbb\xbf"
MOST_BYTES = 64 * 1024 * 1024


class Reason(StrEnum):
    """Why a row is in quarantine."""

    EMPTY_FILE = "empty_file"
    NOT_TEXT = "not_text"
    BLANK_LINE = "blank_line"
    TOO_LONG = "too_long"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    SEVERAL_DOCUMENTS = "several_documents"
    LONE_SURROGATE = "lone_surrogate"
    MISSING_ID = "missing_id"
    ID_NOT_TEXT = "id_not_text"
    ID_NOT_USABLE = "id_not_usable"
    MISSING_TEXT = "missing_text"
    TEXT_NOT_TEXT = "text_not_text"
    EMPTY_TEXT = "empty_text"
    NUL_CHARACTER = "nul_character"
    TITLE_NOT_TEXT = "title_not_text"
    MESSAGES_NOT_VALID = "messages_not_valid"
    # Documents with a format of their own:
    ENCRYPTED = "encrypted"
    UNREADABLE = "unreadable"
    TOO_SLOW = "too_slow"
    TOO_MUCH_MEMORY = "too_much_memory"
    BAD_PAGE = "bad_page"
    PAGE_WITHOUT_TEXT = "page_without_text"
    REPEATED_DOCUMENT = "repeated_document"
    CONFLICTING_ID = "conflicting_id"
    RETRACTED = "retracted"
    # Only if a run asks for quality:
    LANGUAGE_NOT_WANTED = "language_not_wanted"
    EXACT_DUPLICATE = "exact_duplicate"
    NEAR_DUPLICATE = "near_duplicate"
    FILLER_TEXT = "filler_text"
    MOSTLY_BULLETS = "mostly_bullets"
    MOSTLY_CUT_OFF = "mostly_cut_off"
    REPEATED_LINES = "repeated_lines"
    WORD_COUNT = "word_count"
    WORD_LENGTH = "word_length"
    MANY_SYMBOLS = "many_symbols"
    FEW_LETTERS = "few_letters"
    FEW_STOP_WORDS = "few_stop_words"


DROPPED_ON_REQUEST = frozenset(
    {
        Reason.RETRACTED,
        Reason.LANGUAGE_NOT_WANTED,
        Reason.EXACT_DUPLICATE,
        Reason.NEAR_DUPLICATE,
        Reason.FILLER_TEXT,
        Reason.MOSTLY_BULLETS,
        Reason.MOSTLY_CUT_OFF,
        Reason.REPEATED_LINES,
        Reason.WORD_COUNT,
        Reason.WORD_LENGTH,
        Reason.MANY_SYMBOLS,
        Reason.FEW_LETTERS,
        Reason.FEW_STOP_WORDS,
    }
)
"""Reasons of rows that somebody wanted dropped: by a quality option, or by `lineage impact --retract`. No limit counts
them."""

OF_PAGES = frozenset({Reason.BAD_PAGE, Reason.PAGE_WITHOUT_TEXT})
"""Reasons why a page is missing from a document that was taken. No limit counts them: a page is no row."""

SENTENCES: dict[str, str] = {
    Reason.REPEATED_DOCUMENT.value: "The same document, word for word, comes earlier in the input and was taken.",
    Reason.CONFLICTING_ID.value: "Another row has the same id and a different content, so neither was taken.",
    Reason.EXACT_DUPLICATE.value: "A document with a smaller id has the same text, and was kept.",
    Reason.NEAR_DUPLICATE.value: "A document with a smaller id has nearly the same text, and was kept.",
}
"""The sentences of reasons that come from comparing rows with each other."""


@dataclass(frozen=True)
class Fields:
    """The names of the fields of a document. All other fields become metadata."""

    id: str = "id"
    text: str = "text"
    title: str = "title"
    language: str = "language"
    messages: str = "messages"


class Document(NamedTuple):
    """A text with an id. `metadata` is a JSON object; `blocks` are the turns of a conversation, as (start, end).
    `has_pages` says that the metadata tell where the pages are."""

    document_id: str
    title: str
    text: str
    language: str | None
    metadata: str
    document_hash: str
    blocks: tuple[tuple[int, int], ...] = ()
    has_pages: bool = False


class Rejected(NamedTuple):
    """Why a row is no document: a reason for programs and a sentence for people."""

    reason: Reason
    sentence: str


RETRACTED = Rejected(Reason.RETRACTED, "Somebody retracted the document with this id. Its text is not kept here.")
EMPTY_FILE = Rejected(Reason.EMPTY_FILE, "The file is empty.")


def read_line(line: bytes, fields: Fields) -> Document | Rejected:
    """Read a JSON line as a document."""
    line = line.removesuffix(b"\r").removeprefix(_BOM)
    if len(line) > MOST_BYTES:
        return Rejected(Reason.TOO_LONG, f"The row has {len(line):,} bytes; at most {MOST_BYTES:,} are read.")
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return _why_not_json(line, error)
    if type(row) is not dict:
        return Rejected(Reason.NOT_AN_OBJECT, f"The row is JSON, but {_kind(row)} instead of an object.")
    return _read_object(row, fields)


def document(
    document_id: str,
    title: str,
    text: str,
    language: str | None = None,
    metadata: str = "{}",
    blocks: tuple[tuple[int, int], ...] = (),
) -> Document:
    """Make a document with its hash: BLAKE2b (128 bits) over all its parts, each preceded by its length."""
    known = hashlib.blake2b(digest_size=16)
    for part in (document_id, title, language or "", metadata, text):
        data = part.encode()
        known.update(b"%d:" % len(data))
        known.update(data)
    return Document(document_id, title, text, language, metadata, known.hexdigest(), blocks)


def checked_id(value: Any, name: str) -> Rejected | None:
    """Why a value is no id; None if it is one."""
    if value is None:
        return Rejected(Reason.MISSING_ID, f"The row has no field {name!r}.")
    if type(value) is not str:
        return Rejected(Reason.ID_NOT_TEXT, f"Field {name!r} is {_kind(value)}; an id must be text.")
    if not value.strip() or len(value) > 1024 or not value.isprintable():
        return Rejected(
            Reason.ID_NOT_USABLE, f"Field {name!r} is empty, longer than 1,024 characters or holds control characters."
        )
    return None


def checked_text(value: Any, name: str) -> Rejected | None:
    """Why a value is no text; None if it is one."""
    if value is None:
        return Rejected(Reason.MISSING_TEXT, f"The row has no field {name!r}.")
    if type(value) is not str:
        return Rejected(Reason.TEXT_NOT_TEXT, f"Field {name!r} is {_kind(value)}; it must be text.")
    if "\0" in value:
        return Rejected(Reason.NUL_CHARACTER, f"Field {name!r} holds a NUL character.")
    if not value or value.isspace():
        return Rejected(Reason.EMPTY_TEXT, f"Field {name!r} holds nothing but white space.")
    return None


def _read_object(row: dict[str, Any], fields: Fields) -> Document | Rejected:
    document_id, title, language = row.pop(fields.id, None), row.pop(fields.title, None), row.pop(fields.language, None)
    wrong = checked_id(document_id, fields.id)
    if wrong:
        return wrong
    if title is not None and (type(title) is not str or "\0" in title):
        return Rejected(Reason.TITLE_NOT_TEXT, f"Field {fields.title!r} is {_kind(title)}; a title must be text.")
    if language is not None and type(language) is not str:
        row[fields.language], language = language, None
    blocks: tuple[tuple[int, int], ...] = ()
    if fields.text not in row and fields.messages in row:
        turns = _conversation(row.pop(fields.messages), fields.messages)
        if isinstance(turns, Rejected):
            return turns
        text, blocks, row["turns"] = turns
    else:
        text = row.pop(fields.text, None)
    wrong = checked_text(text, fields.text)
    if wrong:
        return wrong
    metadata = orjson.dumps(row, option=orjson.OPT_SORT_KEYS).decode() if row else "{}"
    return document(document_id, title or "", text, language, metadata, blocks)


def _conversation(messages: Any, name: str) -> tuple[str, tuple[tuple[int, int], ...], list[dict[str, Any]]] | Rejected:
    """The turns as one text, each a paragraph `role: content`, with the offsets and the role of each turn."""
    if type(messages) is not list or not messages:
        return Rejected(Reason.MESSAGES_NOT_VALID, f"Field {name!r} is {_kind(messages)}; it must be a list of turns.")
    parts: list[str] = []
    turns: list[dict[str, Any]] = []
    offset = 0
    for number, message in enumerate(messages, start=1):
        role = message.get("role") if type(message) is dict else None
        content = message.get("content") if type(message) is dict else None
        if type(role) is not str or type(content) is not str or not role:
            return Rejected(Reason.MESSAGES_NOT_VALID, f"Turn {number} of {name!r} has no role or content as text.")
        part = f"{role}: {content.rstrip()}"
        extra = {key: value for key, value in message.items() if key not in ("role", "content")}
        turns.append({"role": role, "start": offset, "end": offset + len(part), **({"fields": extra} if extra else {})})
        parts.append(part)
        offset += len(part) + 2
    return "\n\n".join(parts), tuple((turn["start"], turn["end"]) for turn in turns), turns


def metadata_by_page(document: str, spans: Sequence[tuple[int, int]]) -> list[str]:
    """The metadata of each chunk of a document with pages: the numbers of the pages that the chunk is on."""
    metadata = orjson.loads(document)
    pages = metadata["pages"]
    starts, ends = [page["start"] for page in pages], [page["end"] for page in pages]
    found = []
    for start, end in spans:
        metadata["pages"] = [page["page"] for page in pages[bisect_right(ends, start) : bisect_left(starts, end)]]
        found.append(orjson.dumps(metadata, option=orjson.OPT_SORT_KEYS).decode())
    return found


def metadata_of_chunks(conversation: str, spans: Sequence[tuple[int, int]]) -> list[str]:
    """The metadata of each chunk of a conversation: the turns that the chunk holds, counted from 1, and their roles."""
    metadata = orjson.loads(conversation)
    turns = metadata["turns"]
    starts, ends = [turn["start"] for turn in turns], [turn["end"] for turn in turns]
    found = []
    for start, end in spans:
        held = range(bisect_right(ends, start), bisect_left(starts, end))
        metadata["turns"] = [number + 1 for number in held]
        metadata["roles"] = list(dict.fromkeys(turns[number]["role"] for number in held))
        found.append(orjson.dumps(metadata, option=orjson.OPT_SORT_KEYS).decode())
    return found


def _why_not_json(line: bytes, error: orjson.JSONDecodeError) -> Rejected:
    if not line.strip():
        return Rejected(Reason.BLANK_LINE, "The line is blank.")
    try:
        text = line.decode()
    except UnicodeDecodeError as wrong:
        return Rejected(Reason.NOT_UTF8, f"The row is not UTF-8: byte {wrong.start} is {line[wrong.start]:#04x}.")
    try:
        _, end = json.JSONDecoder().raw_decode(text.lstrip())
    except (ValueError, RecursionError):
        return Rejected(Reason.NOT_JSON, f"The row is not JSON: {error.msg.split(': line')[0]}.")
    if text.lstrip()[end:].strip():
        return Rejected(Reason.SEVERAL_DOCUMENTS, f"Something follows the first JSON value, at character {end}.")
    if "\\ud" in text.lower():
        return Rejected(Reason.LONE_SURROGATE, "A string holds half of a surrogate pair, which is not a character.")
    return Rejected(Reason.NOT_JSON, f"The row is not strict JSON: {error.msg.split(': line')[0]}.")


def _kind(value: Any) -> str:
    names = {
        dict: "an object",
        list: "an array",
        str: "text",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), "null")
