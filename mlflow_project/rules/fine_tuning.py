"""Turns question/answer rows and conversations into examples for fine-tuning, in the chat format of OpenAI or Gemini.

In: JSON lines. Out: examples, or rejections with a reason; lines that were checked against the provider's format.
Formats: OpenAI, "Supervised fine-tuning" (`messages` of `role` and `content`); Google, "Supervised fine-tuning for
Gemini" (`systemInstruction`, `contents` of `role` and `parts`, user and model in turn). Pure.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import orjson
from jsonschema_rs import Draft202012Validator

SPLITS = ("train", "validation", "test")
_END = "g"
"""A place after all places, which are hexadecimal digits."""


class Unfit(StrEnum):
    """Why a row is no example."""

    NOT_JSON = "not_json"
    MISSING_DOCUMENT = "missing_document"
    MISSING_QUESTION = "missing_question"
    MISSING_ANSWER = "missing_answer"
    MESSAGES_NOT_VALID = "messages_not_valid"
    NOT_THE_FORM = "not_the_form"
    REPEATED_EXAMPLE = "repeated_example"


@dataclass(frozen=True)
class ExampleFields:
    """The names of the fields. Rows with the same `document` (or else `id`) are in the same part of the split."""

    document: str = "document_id"
    id: str = "id"
    question: str = "question"
    answer: str = "answer"
    messages: str = "messages"


class Turn(NamedTuple):
    """One message. `role` is system, user or assistant."""

    role: str
    content: str


class Example(NamedTuple):
    """A conversation that ends with the answer to be learnt, and the id of the document that it comes from."""

    document: str
    turns: tuple[Turn, ...]


class Rejection(NamedTuple):
    """A reason for machines and a sentence for people."""

    reason: Unfit
    sentence: str


def read_example(line: bytes, fields: ExampleFields, system: str | None = None) -> Example | Rejection:
    """Read a row as an example. `system` is the first turn of conversations that have no system turn."""
    try:
        row = orjson.loads(line.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        return Rejection(Unfit.NOT_JSON, f"The row is not JSON: {error.msg.split(': line')[0]}.")
    if type(row) is not dict:
        return Rejection(Unfit.NOT_JSON, "The row is JSON, but no object.")
    document = row.get(fields.document, row.get(fields.id))
    if type(document) is not str or not document.strip():
        return Rejection(Unfit.MISSING_DOCUMENT, f"The row has neither {fields.document!r} nor {fields.id!r} as text.")
    found = _conversation(row[fields.messages]) if fields.messages in row else _question_and_answer(row, fields)
    if isinstance(found, Rejection):
        return found
    opened = found if system is None or found[0].role == "system" else (Turn("system", system), *found)
    return Example(document, opened)


def _question_and_answer(row: Mapping[str, Any], fields: ExampleFields) -> tuple[Turn, ...] | Rejection:
    question, answer = row.get(fields.question), row.get(fields.answer)
    if type(answer) is list and answer:
        answer = answer[0]  # several accepted answers: the first is the one to learn
    if type(question) is not str or not question.strip():
        return Rejection(Unfit.MISSING_QUESTION, f"The row has no {fields.question!r} as text.")
    if type(answer) is not str or not answer.strip():
        return Rejection(Unfit.MISSING_ANSWER, f"The row has no {fields.answer!r} as text.")
    return Turn("user", question), Turn("assistant", answer)


def _conversation(messages: Any) -> tuple[Turn, ...] | Rejection:
    """Read turns. Turns after the last answer are left out, since they teach nothing."""
    turns = []
    for number, message in enumerate(messages if type(messages) is list else (), start=1):
        role, content = (message.get("role"), message.get("content")) if type(message) is dict else (None, None)
        if role not in ("system", "user", "assistant") or type(content) is not str or not content.strip():
            return Rejection(Unfit.MESSAGES_NOT_VALID, f"Turn {number} has no known role, or no content as text.")
        turns.append(Turn(role, content))
    while turns and turns[-1].role != "assistant":
        turns.pop()
    if not any(turn.role == "user" for turn in turns):
        return Rejection(Unfit.MESSAGES_NOT_VALID, "The conversation holds no question with an answer after it.")
    return tuple(turns)


def place_of(document: str) -> str:
    """Where a document stands in the order from which the parts are cut: the hash of its id, as 16 hexadecimal digits.
    It depends neither on chance nor on other rows."""
    return hashlib.blake2b(document.encode(), digest_size=8, person=b"split/1").hexdigest()


def cuts_for(examples: Sequence[tuple[str, int]], shares: Sequence[float]) -> tuple[str, ...]:
    """Where to cut the order of documents, so that the parts have the shares asked for.

    A document stays whole, so a part may miss its share by half of the examples of a document. If documents are added
    later, only those next to a cut change their part.

    Args:
        examples: the place of each document and how many examples it has.
        shares: of the parts, in the order of `SPLITS`.

    Returns:
        The first place of each part after the first one.
    """
    total, before, reached = sum(count for _, count in examples), 0, 0.0
    ordered = sorted(examples)
    cuts = []
    index = 0
    for share in shares[:-1]:
        reached += share
        while index < len(ordered) and before + ordered[index][1] / 2 <= reached * total + 1e-9:
            before += ordered[index][1]
            index += 1
        cuts.append(ordered[index][0] if index < len(ordered) else _END)
    return tuple(cuts)


def key_of(example: Example) -> str:
    """A key that is equal for examples with equal turns, whatever document they come from."""
    said = json.dumps(example.turns, ensure_ascii=True).encode()
    return hashlib.blake2b(said, digest_size=16).hexdigest()


def openai_line(example: Example) -> dict[str, Any]:
    """An example as a line of OpenAI's format."""
    return {"messages": [{"role": turn.role, "content": turn.content} for turn in example.turns]}


def gemini_line(example: Example) -> dict[str, Any]:
    """An example as a line of Gemini's format. Consecutive turns of the same role become one."""
    system = [turn.content for turn in example.turns if turn.role == "system"]
    contents: list[dict[str, Any]] = []
    for turn in example.turns:
        role = {"assistant": "model"}.get(turn.role, turn.role)
        if role == "system":
            continue
        if contents and contents[-1]["role"] == role:
            contents[-1]["parts"].append({"text": turn.content})
        else:
            contents.append({"role": role, "parts": [{"text": turn.content}]})
    head = {"systemInstruction": {"role": "system", "parts": [{"text": text} for text in system]}} if system else {}
    return {**head, "contents": contents}


_TEXT = {"type": "string", "pattern": r"\S"}
_PARTS = {
    "type": "array",
    "minItems": 1,
    "items": {"type": "object", "properties": {"text": _TEXT}, "required": ["text"], "additionalProperties": False},
}


def _turns(name: str, roles: Sequence[str], said: str, saying: Mapping[str, Any]) -> dict[str, Any]:
    turn = {"type": "object", "properties": {"role": {"enum": list(roles)}, said: saying}}
    return {name: {"type": "array", "minItems": 2, "items": {**turn, **_exactly("role", said)}}}


def _exactly(*names: str) -> dict[str, Any]:
    return {"required": list(names), "additionalProperties": False}


_OPENAI = Draft202012Validator(
    {
        "type": "object",
        "properties": _turns("messages", ("system", "user", "assistant"), "content", _TEXT),
        **_exactly("messages"),
    }
)
_GEMINI = Draft202012Validator(
    {
        "type": "object",
        "properties": {
            "systemInstruction": {"type": "object", "properties": {"role": {"const": "system"}, "parts": _PARTS}},
            **_turns("contents", ("user", "model"), "parts", _PARTS),
        },
        "required": ["contents"],
        "additionalProperties": False,
    }
)


def openai_mistakes(line: Mapping[str, Any]) -> list[str]:
    """The mistakes in a line of OpenAI's format: its shape, a system turn that is not the first, no answer at the
    end."""
    wrong = [error.message for error in _OPENAI.iter_errors(line)]
    if wrong:
        return wrong
    roles = [message["role"] for message in line["messages"]]
    late = ["a system turn is not the first"] if "system" in roles[1:] else []
    return late + ([] if roles[-1] == "assistant" else ["the last turn is not the assistant's"])


def gemini_mistakes(line: Mapping[str, Any]) -> list[str]:
    """The mistakes in a line of Gemini's format: its shape, and whether user and model take turns."""
    wrong = [error.message for error in _GEMINI.iter_errors(line)]
    if wrong:
        return wrong
    roles = [content["role"] for content in line["contents"]]
    in_turn = roles == ["user", "model"] * (len(roles) // 2)
    return [] if in_turn else ["user and model do not take turns, beginning with the user and ending with the model"]


@dataclass(frozen=True)
class Form:
    """A provider's format: how to write an example, and how to find mistakes in a line."""

    write: Callable[[Example], dict[str, Any]]
    mistakes: Callable[[Mapping[str, Any]], list[str]]


FORMS: dict[str, Form] = {
    "openai": Form(openai_line, openai_mistakes),
    "gemini": Form(gemini_line, gemini_mistakes),
}
