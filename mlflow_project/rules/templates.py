"""Templates: chat messages with slots such as `{{question}}`, filled in one pass and never executed.

In: messages and values. Out: messages with the same roles in the same order, history put where it belongs.
Values are data: what a value holds is never looked at again, so it can neither fill another slot nor add a role, and
retrieved text cannot close the delimiter that it stands in. There are no conditions, loops or filters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from mlflow_project.domain.answer import Context
from mlflow_project.domain.release import Message
from mlflow_project.errors import InvalidData

CONTEXT = "context"
HISTORY = "history"

_NAME = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*")
_DELIMITER = re.compile(r"<(?=\s*(?:/\s*)?(?:chunk|turn))", re.IGNORECASE)
"""Every delimiter, in every block: a chunk cannot begin a turn, and a turn cannot end a chunk."""

_Parts = tuple[str, ...]
"""Literal text and slot names in turn: even places are text, odd ones are names."""


@dataclass(frozen=True)
class Template:
    """A compiled template. `variables` are the names of all slots, `history` among them where there is one."""

    messages: tuple[tuple[str, _Parts], ...]
    variables: frozenset[str]

    @cached_property
    def wanted(self) -> frozenset[str]:
        """What a caller, or the knowledge base, has to give."""
        return self.variables - {HISTORY}

    def render(self, values: Mapping[str, str], history: Sequence[Message] = ()) -> tuple[Message, ...]:
        """The messages with every slot filled.

        Earlier turns fill the slot `history`; where there is none they are sent as they are, before the last message.

        Raises:
            InvalidData: a variable is missing or surplus; the message names each.
        """
        self._check(values)
        filled = {**values, HISTORY: turns_block(history)}
        rendered = tuple(Message(role, _fill(parts, filled)) for role, parts in self.messages)  # type: ignore[arg-type]
        if not history or HISTORY in self.variables:
            return rendered
        return (*rendered[:-1], *history, rendered[-1])

    def _check(self, values: Mapping[str, str]) -> None:
        wanted = self.wanted
        if values.keys() == wanted:
            return
        missing, surplus = sorted(wanted - values.keys()), sorted(values.keys() - wanted)
        wrong = [f"missing: {', '.join(missing)}"] if missing else []
        wrong += [f"not in the template: {', '.join(surplus)}"] if surplus else []
        takes = ", ".join(sorted(wanted)) or "no variable"
        raise InvalidData(f"The variables do not fit the template ({'; '.join(wrong)}). It takes {takes}.")


def compile_template(messages: Sequence[Message]) -> Template:
    """Find the slots once, so that a request only joins strings.

    Raises:
        InvalidData: there is no message, or something in braces is no slot: an expression, a filter, a block of code.
    """
    if not messages:
        raise InvalidData("A template needs at least one message.")
    compiled = tuple((message.role, _parts(message.content)) for message in messages)
    names = frozenset(name for _, parts in compiled for name in parts[1::2])
    return Template(compiled, names)


def chunks_block(contexts: Sequence[Context]) -> str:
    """Retrieved chunks, numbered from 1 and delimited; an answer cites them by number."""
    blocks = [_delimited("chunk", {"id": str(n), "title": c.title}, c.text) for n, c in enumerate(contexts, start=1)]
    return "\n".join(blocks)


def turns_block(history: Sequence[Message]) -> str:
    """Earlier turns of a chat as text, each delimited."""
    return "\n".join(_delimited("turn", {"role": turn.role}, turn.content) for turn in history)


def _parts(content: str) -> _Parts:
    """Split at the slots, in one pass: the time grows with the length of the content, whatever it holds."""
    code = next(_enclosed(content, "{%", "%}"), None)
    if code is not None:
        raise InvalidData(f"A template holds slots and no code; this one holds {content[code[0] : code[1]][:60]!r}.")
    parts, reached = [], 0
    for start, end in _enclosed(content, "{{", "}}"):
        parts += [content[reached:start], _name(content[start + 2 : end - 2])]
        reached = end
    return (*parts, content[reached:])


def _enclosed(content: str, opening: str, closing: str) -> Iterator[tuple[int, int]]:
    """Where each pair of marks begins and ends, the marks included."""
    end = 0
    while (start := content.find(opening, end)) >= 0:
        close = content.find(closing, start + len(opening))
        if close < 0:
            return
        end = close + len(closing)
        yield start, end


def _name(inside: str) -> str:
    match = _NAME.fullmatch(inside)
    if match is None:
        raise InvalidData(
            f"{'{{' + inside[:60] + '}}'!r} is no slot: write one name in the braces, as in {{{{question}}}}."
        )
    return match.group(1)


def _fill(parts: _Parts, values: Mapping[str, str]) -> str:
    return "".join([values[part] if place % 2 else part for place, part in enumerate(parts)])


def _delimited(tag: str, attributes: Mapping[str, str], text: str) -> str:
    written = "".join(f' {name}="{_attribute(value)}"' for name, value in attributes.items() if value)
    neutral = _DELIMITER.sub("&lt;", text)
    return f"<{tag}{written}>\n{neutral}\n</{tag}>"


def _attribute(value: str) -> str:
    escaped = value.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")
    return " ".join(escaped.split())
