"""One question through two releases, side by side, by the server that answers everybody. In: a name, two aliases, a
question. Out: what each release answered, and how long and how much that took.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from mlflow_project.adapters.server import post
from mlflow_project.errors import InvalidData, WorkspaceError
from mlflow_project.ledger.state import PRODUCTION
from mlflow_project.parts import Parts
from mlflow_project.settings import ClientSettings

LONGEST = 20_000
"""Characters of a question."""


@dataclass(frozen=True)
class Answered:
    """What came back from one alias: the body of the response, or why there is none."""

    alias: str
    body: Mapping[str, Any]
    failure: str = ""


@dataclass(frozen=True)
class Choice:
    """A prompt that can be asked, and its aliases."""

    name: str
    aliases: Sequence[str]


def choices(parts: Parts) -> list[Choice]:
    """The prompts that are live, with every alias that servers answer to now.

    Raises:
        Unavailable: the store does not answer.
    """
    found = []
    for of in parts.ledger.state().names.values():
        aliases = [*sorted(of.live, key=lambda alias: alias != PRODUCTION), *(["Canary"] if of.rollout else [])]
        if of.kind == "prompt" and aliases:
            found.append(Choice(of.name, aliases))
    return sorted(found, key=lambda choice: choice.name)


def ask(settings: ClientSettings, name: str, aliases: Sequence[str], question: str, context: str) -> list[Answered]:
    """Ask each alias once, at the same time.

    Raises:
        InvalidData: the question is empty or too long.
    """
    if not question.strip() or len(question) > LONGEST or len(context) > LONGEST:
        raise InvalidData(f"A question has 1 to {LONGEST:,} characters, and so has the text to answer from, if any.")

    def one(alias: str) -> Answered:
        body = {"variables": {"question": question}, "context": context or None}
        try:
            return Answered(alias, post(settings, f"prompts/{name}/invocations", body, {"X-Alias": alias}))
        except WorkspaceError as error:
            return Answered(alias, {}, str(error))

    with ThreadPoolExecutor(len(aliases)) as pool:
        return list(pool.map(one, aliases))


def judge(settings: ClientSettings, request_id: str, good: bool, who: str) -> str:
    """Send a judgement of an answer as feedback. Returns its release.

    Raises:
        Unavailable: the server does not answer. NotFound, Refused: it does not know the answer, or refuses.
    """
    body = {"request_id": request_id, "score": 1.0 if good else 0.0, "comment": f"by {who} in the playground"}
    return str(post(settings, "feedback", body)["release"])
