"""A request to a release, read from one of OpenAI's two forms.

A model is a prompt: `qa` (its Production), `qa@Staging`, `qa/7`. The last user message fills the template's question.
Turns before it are history; turns after it are tool calls and their results. The release pins how the model generates:
parameters that it does not let a caller override have no effect, and the response names them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlflow_project.answering import CallOptions
from mlflow_project.domain.answer import Answer
from mlflow_project.domain.release import Message, version_number
from mlflow_project.domain.tools import ToolChoice, ToolRequest, ToolResult
from mlflow_project.errors import InvalidAnswer, InvalidData
from mlflow_project.rules.caller_parameters import overrides_and_ignored
from mlflow_project.rules.json_schema import Schema
from mlflow_project.web.problems import BadRequest
from serving.call import Call
from serving.live.shelf import LiveRelease, Shelf
from serving.routes.ask import Question, check_texts, variables_for
from serving.server import Server

IGNORED = b"x-ignored-parameters"


@dataclass(frozen=True)
class ModelRequest:
    """One request. `parameters` are generation parameters by OpenAI's names; `variables` fill the template's other
    slots. `schema` is the JSON schema that the caller's client reads the answer with; `wants_json` is true when the
    request asks for JSON at all. `user` is OpenAI's field, which names the caller's own user.
    """

    model: str
    turns: Sequence[Message]
    variables: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    tools: ToolChoice = field(default_factory=ToolChoice)
    schema: Schema | None = None
    wants_json: bool = False
    user: str = ""

    async def target(self, server: Server, call: Call, alias: str) -> tuple[str, str]:
        """Check the request, and return the name and alias of the prompt that it asks.

        Args:
            alias: counts if the model's id names no alias.

        Raises:
            BadRequest: the parameters of a tool are no JSON schema, or too large or too deep.
            TooLarge: a text is too long.
            NotFound: the id names a version that is not live.
        """
        if self.tools.tools:
            await asyncio.to_thread(_check_tools, self.tools)  # a large schema takes milliseconds
        texts = [(f"messages[{place}]", turn.content) for place, turn in enumerate(self.turns)]
        check_texts(server, call, [*texts, *((f"variables.{name}", text) for name, text in self.variables.items())])
        name, chosen = name_and_alias(server.worker.shelf, self.model, alias)
        call.user, call.names_version = self.user, "@" not in self.model and name != self.model
        return name, chosen

    def question_for(self, call: Call, live: LiveRelease) -> Question:
        """Return the question for this release, and note in the response's headers which parameters have no effect.

        Raises:
            BadRequest: the conversation, the variables, the parameters or the format do not fit the release.
            InvalidData: a parameter lies outside the bounds that the release sets.
        """
        manifest, label = live.placed.manifest, live.placed.release.label
        if self.wants_json and manifest.response_schema is None:
            raise BadRequest(f"{label} has no response schema, so it cannot promise the format that was asked for.")
        question, history, following = conversation(self.turns, bool(manifest.system_allowed))
        overrides, ignored = overrides_and_ignored(manifest.callers, self.parameters)
        if ignored:
            call.release_headers.append((IGNORED, ", ".join(ignored).encode()))
        variables = variables_for(live.prompt.template.variables, question, self.variables)
        return Question(variables, history=history, options=CallOptions(following, overrides, self.tools))

    def check(self, answer: Answer) -> None:
        """Check an answer against the caller's schema. The release's own schema holds already.

        Raises:
            InvalidAnswer: the answer does not fit it.
        """
        if self.schema is None or (answer.tool_calls and answer.text is None):
            return
        if mistakes := self.schema.mistakes(answer.object):
            raise InvalidAnswer(f"The answer does not fit the schema of this request: {mistakes[0]}.")


def name_and_alias(shelf: Shelf, model: str, alias: str) -> tuple[str, str]:
    """Read the name and the alias out of a model's id; `alias` counts where the id names none.

    Raises:
        NotFound: the id names a version that is not live.
    """
    if "@" in model:
        name, _, alias = model.partition("@")
        return name, alias
    name, slash, version = model.rpartition("/")
    try:
        number = version_number(version)
    except InvalidData:
        return model, alias
    return (name, shelf.alias_of(name, number)) if slash else (model, alias)


def conversation(
    turns: Sequence[Message], system_allowed: bool
) -> tuple[str, tuple[Message, ...], tuple[Message, ...]]:
    """Return the question, the turns before it, and the tool calls and results after it.

    Raises:
        BadRequest: there is no question, the last message is the assistant's own, or the release takes no system
            message from a caller.
    """
    last = next((place for place in reversed(range(len(turns))) if turns[place].role == "user"), None)
    if last is None:
        raise BadRequest("There is no user message: the last one is the question.")
    before, following = tuple(turns[:last]), tuple(turns[last + 1 :])
    if not all(isinstance(turn, ToolRequest | ToolResult) for turn in following):
        raise BadRequest("After the last user message, only tool calls and their results may follow.")
    if following and not isinstance(following[-1], ToolResult):
        raise BadRequest("The last message asks for tools: send their results with it.")
    if not system_allowed and any(turn.role == "system" for turn in before):
        raise BadRequest("This release brings its own system message and takes none from a caller.")
    return turns[last].content, before, following


def _check_tools(choice: ToolChoice) -> None:
    for place, tool in enumerate(choice.tools):
        if (parameters := tool["function"].get("parameters")) is not None:
            schema_of(f"tools[{place}].function.parameters", parameters)


def schema_of(where: str, given: Any) -> Schema:
    """Read a caller's JSON schema; `where` is its path in the request, for the error.

    Raises:
        BadRequest: it is no JSON schema, refers to something outside itself, or is too large.
    """
    if not isinstance(given, dict):
        raise BadRequest(f"`{where}` must be a JSON object.")
    try:
        return Schema(given)
    except InvalidData as error:
        raise BadRequest(f"`{where}` cannot be used: {error}.") from error
