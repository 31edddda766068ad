"""What the providers over HTTP have in common: a request goes out, an answer or its events are read.

A module for each protocol says only how a request is written and how an answer is read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit, urlunsplit

import orjson

from mlflow_project.adapters.providers.endpoints import Endpoint
from mlflow_project.adapters.providers.parameters import refuse_unknown
from mlflow_project.adapters.providers.patience import Patience
from mlflow_project.adapters.providers.protocol import Delta, ProviderRequest
from mlflow_project.adapters.providers.upstream import Network, Upstream
from mlflow_project.domain.answer import Completion, Usage
from mlflow_project.domain.release import Message, ProviderChoice
from mlflow_project.domain.tools import ToolCall, ToolCallPiece, joined
from mlflow_project.errors import InvalidData, ProviderError

_PATIENCE = frozenset(field.name for field in fields(Patience))
_DONE = "[DONE]"


@dataclass(frozen=True)
class ChatProvider(ABC):
    """A language model over HTTP. `address` is where its endpoint begins; `options` are what the release pins;
    `thoughts_tag` encloses thoughts at the beginning of an answer, where the endpoint leaves them there."""

    upstream: Upstream
    address: str
    model: str
    options: Mapping[str, Any]
    thoughts_tag: str | None = None

    PROTOCOL: ClassVar[str]
    OPTIONS: ClassVar[frozenset[str]]
    """Parameters that a release can pin, by the protocol's names."""
    PINNED_NAMES: ClassVar[Mapping[str, str]]
    """Other names of parameters, such as those of MLflow's model configuration, and the protocol's for them."""
    CALLER_NAMES: ClassVar[Mapping[str, str]]
    """OpenAI's names of parameters, which callers use, and the protocol's for them."""

    @classmethod
    def of(cls, choice: ProviderChoice, endpoint: Endpoint, network: Network) -> Self:
        """Read and check what the release pins and what the endpoint is.

        Raises:
            InvalidData: a parameter is unknown or wrong.
            ConfigError: the endpoint has no key, or its address is not one of this protocol.
        """
        parameters = cls.checked_parameters(choice.parameters)
        address = cls.checked_address(endpoint)
        patience = Patience.of({**endpoint.limits.patience(), **parameters})
        model = cls.model_of(choice, endpoint)
        return cls(
            upstream=Upstream.of(cls.called(endpoint), cls.headers(endpoint), endpoint, model, patience, network),
            address=address,
            model=model,
            options={name: value for name, value in parameters.items() if name in cls.OPTIONS},
            thoughts_tag=endpoint.thoughts_tag,
        )

    @classmethod
    def checked_parameters(cls, pinned: Mapping[str, Any]) -> dict[str, Any]:
        """The pinned parameters by the protocol's names.

        Raises:
            InvalidData: one is unknown, or a limit of time is wrong.
        """
        parameters = {cls.PINNED_NAMES.get(name, name): value for name, value in pinned.items()}
        refuse_unknown(cls.PROTOCOL, parameters, cls.OPTIONS | _PATIENCE)
        Patience.of(parameters)
        return parameters

    async def complete(self, request: ProviderRequest) -> Completion:
        """Ask and wait for the whole."""
        reading = self.reading()
        body = self.body(request, streamed=False)
        reading.add(await self.upstream.whole(self.url(streamed=False), body, request.messages))
        return reading.completion()

    async def stream(self, request: ProviderRequest) -> AsyncGenerator[Delta]:
        """Ask, and hand on each piece."""
        reading = self.reading()
        url, body = self.url(streamed=True), self.body(request, streamed=True)
        async with aclosing(self.upstream.pieces(url, body, request.messages)) as pieces:
            async for piece in pieces:
                if piece.strip() == _DONE:
                    break
                for delta in reading.add(self._event(piece, request.messages)):
                    yield delta
        if reading.cut:
            raise ProviderError(f"{self.upstream.name}'s stream was cut before its end.", kind="transport")
        yield Delta(completion=reading.completion())

    @classmethod
    @abstractmethod
    def checked_address(cls, endpoint: Endpoint) -> str:
        """Where the endpoint begins. Raises ConfigError when its address is not one of this protocol."""

    @classmethod
    def called(cls, endpoint: Endpoint) -> str:
        """What messages call an endpoint: its name, or the host where it has only the name `default`."""
        return endpoint.name if endpoint.protocol is not None else urlsplit(endpoint.url).hostname or endpoint.url

    @classmethod
    def headers(cls, endpoint: Endpoint) -> dict[str, str]:
        """The headers of every request, the key's among them."""
        return endpoint.headers_with_key(cls.PROTOCOL)

    @classmethod
    def model_of(cls, choice: ProviderChoice, endpoint: Endpoint) -> str:
        """The model to ask for."""
        return choice.model

    @abstractmethod
    def url(self, *, streamed: bool) -> str:
        """The address of the method."""

    @abstractmethod
    def body(self, request: ProviderRequest, *, streamed: bool) -> dict[str, Any]:
        """A request in the protocol's form."""

    @abstractmethod
    def reading(self) -> Reading:
        """A reader for one answer."""

    def error_status(self, error: Mapping[str, Any]) -> object:
        """The HTTP status that an error inside of a stream stands for."""
        return error.get("code")

    def asked_options(self, request: ProviderRequest) -> dict[str, Any]:
        """The pinned options, with those of this call in their place."""
        return {**self.options, **{self.CALLER_NAMES.get(name, name): v for name, v in request.overrides.items()}}

    def _event(self, piece: str, messages: Sequence[Message]) -> dict[str, Any]:
        try:
            data = orjson.loads(piece)
        except orjson.JSONDecodeError as error:
            said = f"{self.upstream.name}'s stream holds something that is no JSON."
            raise ProviderError(said, kind="invalid_json") from error
        if isinstance(data, dict) and (failure := data.get("error")):
            status = self.error_status(failure) if isinstance(failure, Mapping) else None
            raise self.upstream.refusal(status, piece.encode(), messages)
        return data if isinstance(data, dict) else {}


class Reading(ABC):
    """What was received of one answer so far. A protocol says how to read one answer, or one event of a stream."""

    FORM: ClassVar[str]
    """Whose form an answer must have, for messages."""

    def __init__(self) -> None:
        self.finish_reason: str | None = None
        self.usage = Usage()
        self.calls: list[ToolCallPiece] = []
        self._texts: list[str] = []

    @abstractmethod
    def read(self, data: Mapping[str, Any]) -> tuple[str, list[ToolCallPiece]]:
        """The text and the tool calls that the data adds. Sets `finish_reason` and `usage` where the data has them.

        Raises:
            AttributeError, LookupError, TypeError: the data has another form.
        """

    def add(self, data: Mapping[str, Any]) -> list[Delta]:
        """Read one answer, or one event of a stream, and return what it adds.

        Raises:
            ProviderError: the data has another form.
        """
        try:
            text, calls = self.read(data)
            if not isinstance(text, str) or not isinstance(self.finish_reason, str | None):
                raise TypeError("a text, or the finish reason, is no text")
        except (AttributeError, LookupError, TypeError) as error:
            raise ProviderError(f"The answer does not have {self.FORM}'s form.", kind="invalid_json") from error
        if text:
            self._texts.append(text)
        self.calls += calls
        return [*([Delta(text)] if text else []), *(Delta(tool_call=call) for call in calls)]

    @property
    def cut(self) -> bool:
        """Whether a stream that ended now was cut. A stream that brought nothing has no end to lack."""
        return bool(self._texts or self.calls) and self.finish_reason is None

    def completion(self) -> Completion:
        """The whole. Without any text there was no answer, it was blocked, or it asks for tools."""
        text = "".join(self._texts) or None
        return Completion(text, self.usage, self.finish_reason, tool_calls=joined(self.calls))


def with_path(url: str, path: str) -> str:
    """An address that ends with this path, before its query. What of the path is there already stays once, so `/v1` and
    `/v1/messages` make `/v1/messages`."""
    parts = urlsplit(url)
    own, steps = parts.path.rstrip("/"), path.strip("/").split("/")
    for there in range(len(steps), 0, -1):
        begun = "/" + "/".join(steps[:there])
        if own.endswith(begun):
            own = own.removesuffix(begun)
            break
    return urlunsplit(parts._replace(path=own + path))


def arguments_of(call: ToolCall) -> Any:
    """The arguments of a tool call as JSON-ready data.

    Raises:
        InvalidData: they are not JSON.
    """
    try:
        return orjson.loads(call.arguments or "{}")
    except orjson.JSONDecodeError as error:
        raise InvalidData(f"The arguments of the tool call {call.id!r} are not JSON: {error}.") from error
