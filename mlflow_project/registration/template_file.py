"""Reads one template file: YAML front matter between `---` lines, then sections `# system`, `# user`, `# assistant`.

In: a path. Out: front matter and messages, or one InvalidData with every mistake and its line. Only these three
headings begin a section; any other heading is part of a message. `# assistant` after `# user` is an example turn.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from mlflow_project.domain.release import Message
from mlflow_project.errors import InvalidData
from mlflow_project.registration.front_matter import FrontMatter, read_front_matter
from mlflow_project.registration.mistakes import Mistakes
from mlflow_project.rules.templates import compile_template

_SECTION = re.compile(r"#\s+(system|user|assistant)\s*")


@dataclass(frozen=True)
class TemplateFile:
    """A template file that was read without a mistake."""

    path: Path
    front: FrontMatter
    messages: tuple[Message, ...]


def read_template(path: Path) -> TemplateFile:
    """Read one template file.

    Raises:
        InvalidData: one line for each mistake, with file and line.
    """
    mistakes = Mistakes(path)
    lines = _text(path).splitlines()
    end = _end_of_front_matter(lines)
    if end is None:
        mistakes.add(1, "the file must begin with front matter: YAML between two lines of ---")
        front, end = FrontMatter(), 0
    else:
        front = read_front_matter("\n".join(lines[1 : end - 1]), 2, mistakes)
    messages = _messages(lines, end, mistakes)
    mistakes.raise_any()
    return TemplateFile(path, front, messages)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidData(f"The template {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InvalidData(f"The template {path} is not UTF-8 (byte {error.start}): save it as UTF-8.") from error


def _end_of_front_matter(lines: list[str]) -> int | None:
    """The number of lines of the front matter with both `---` lines; None: the file has none."""
    if not lines or lines[0].rstrip() != "---":
        return None
    return next((number + 1 for number, line in enumerate(lines[1:], start=1) if line.rstrip() == "---"), None)


def _messages(lines: list[str], begin: int, mistakes: Mistakes) -> tuple[Message, ...]:
    starts = [number for number in range(begin, len(lines)) if _SECTION.fullmatch(lines[number])]
    before = next((n for n in range(begin, starts[0] if starts else len(lines)) if lines[n].strip()), None)
    if before is not None:
        mistakes.add(before + 1, "text stands before the first section: begin with # system or # user")
    messages = []
    for start, stop in pairwise([*starts, len(lines)]):
        messages.append(_message(lines, start, stop))
        _check(messages[-1], lines[start + 1 : stop], start + 1, mistakes)
    if not any(message.role == "user" for message in messages):
        mistakes.add(len(lines) or 1, "there is no # user section: it holds what is asked, with a slot {{question}}")
    elif messages[-1].role != "user":
        mistakes.add(starts[-1] + 1, f"the last section is # {messages[-1].role}; it must be # user")
    return tuple(messages)


def _message(lines: list[str], start: int, stop: int) -> Message:
    match = _SECTION.fullmatch(lines[start])
    assert match is not None
    return Message(match.group(1), "\n".join(lines[start + 1 : stop]).strip())  # type: ignore[arg-type]


def _check(message: Message, body: list[str], line: int, mistakes: Mistakes) -> None:
    if not message.content:
        mistakes.add(line, f"the section # {message.role} is empty")
    for offset, text in enumerate(body, start=1):
        try:
            compile_template((Message(message.role, text),))
        except InvalidData as error:
            mistakes.add(line + offset, str(error))
        if text.count("{{") != text.count("}}"):
            mistakes.add(line + offset, "a slot is not closed: write {{question}} on one line")
