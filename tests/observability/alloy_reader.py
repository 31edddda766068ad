"""Reads an Alloy file as far as a check of components, arguments and references needs: nested blocks, and arguments
with their values as text. Alloy cannot be built from public Go modules, so nothing more can be asked of it here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_COMMENT = re.compile(r"^\s*//.*$", re.MULTILINE)
_OPENS = re.compile(r'\s*([\w.]+)(?: "(\w+)")? \{\n')
_ARGUMENT = re.compile(r"\s*(\w+)\s*=\s*")
_CLOSES = re.compile(r"\s*\}\n?")


@dataclass
class Block:
    """A component or a block in one: its name, label, arguments as text, and inner blocks."""

    name: str
    label: str | None = None
    arguments: dict[str, str] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)

    @property
    def address(self) -> str:
        """What references to it begin with."""
        return f"{self.name}.{self.label}"

    def inner(self, name: str) -> Block:
        """The one block of this name."""
        (found,) = [block for block in self.blocks if block.name == name]
        return found


def read(text: str) -> list[Block]:
    """The components of a file; raises ValueError where it is not understood."""
    text = _COMMENT.sub("", text).strip() + "\n"
    root = Block("")
    open_blocks, at = [root], 0
    while text[at:].strip():
        if found := _OPENS.match(text, at):
            block = Block(found[1], found[2])
            open_blocks[-1].blocks.append(block)
            open_blocks.append(block)
            at = found.end()
        elif found := _CLOSES.match(text, at):
            open_blocks.pop()
            at = found.end()
        elif found := _ARGUMENT.match(text, at):
            at = _end_of_value(text, found.end())
            open_blocks[-1].arguments[found[1]] = text[found.end() : at].strip()
        else:
            raise ValueError(f"Not understood: {text[at : at + 60]!r}")
    if open_blocks != [root]:
        raise ValueError("A block is not closed.")
    return root.blocks


def references(value: str) -> Iterator[tuple[str, str]]:
    """(component's address, exported field) of each reference in a value."""
    for found in re.finditer(r"\b((?:otelcol|prometheus)(?:\.\w+)+)\.(\w+)\b", value):
        yield found[1], found[2]


def _end_of_value(text: str, at: int) -> int:
    """A value ends with its line, or with the line that closes its list."""
    end = text.index("\n", at)
    return text.index("]", at) + 1 if text[at] == "[" else end
