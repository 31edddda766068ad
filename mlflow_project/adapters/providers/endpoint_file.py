"""The form of `providers.yaml`: what an endpoint may say, and what is said of mistakes.

In: the file. Out: an `EndpointEntry` for each name. The file never holds a key; it says where the key is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails

from mlflow_project.errors import ConfigError
from mlflow_project.rules.plain_yaml import EachKeyOnce, read_yaml
from mlflow_project.settings import WebAddress, secret_setting, what_is_wrong

DEFAULT = "default"
"""The endpoint of `LLM_API_URL` and `LLM_API_KEY`."""
MOST_SECRET_CHARS = 65_536
_RESERVED = frozenset(
    {"api-key", "authorization", "connection", "content-length", "content-type", "cookie", "expect", "host"}
    | {"proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade", "x-api-key", "x-goog-api-key"}
)
_PRESETS = Path(__file__).with_name("presets.yaml")
_PLACE = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ENDPOINT_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"


def _without_password(url: str) -> str:
    if "@" in url.split("://", 1)[-1].split("/", 1)[0]:
        raise ValueError("must not hold a user or a password: nothing secret belongs into this file")
    return url


def _known_preset(name: str) -> str:
    if name not in presets():
        raise ValueError(f"must be one of {', '.join(presets())}")
    return name


def _plain_headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
            raise ValueError("the name of a header has letters, digits, '-' and '_' only")
        if name.lower() in _RESERVED:
            raise ValueError(f"{name} cannot be set here: a key goes into `key`, and the rest is set by the client")
        if not value.isascii() or not value.isprintable():
            raise ValueError(f"the value of {name} must be printable ASCII on one line")
    return headers


Address = Annotated[WebAddress, AfterValidator(_without_password)]
Text = Annotated[str, Field(min_length=1, max_length=500)]
Seconds = Annotated[float, Field(ge=0.01, le=3600)]
Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class KeySource(_Part):
    """Where a key is: the name of a setting, or a file."""

    env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    file: Text | None = None

    @model_validator(mode="after")
    def _names_one(self) -> KeySource:
        if (self.env is None) == (self.file is None):
            raise ValueError("must name one of env and file")
        return self

    def read(self, folder: Path) -> SecretStr:
        """The key. A relative file lies beside `providers.yaml`.

        Raises:
            ConfigError: there is none; the message says where it was looked for.
        """
        if self.env is not None:
            found = secret_setting(self.env)
            if found is None:
                raise ConfigError(f"{self.env} is not set. Set it in the environment or in .env.")
            return found
        path = folder / str(self.file)
        try:
            with path.open(encoding="utf-8") as opened:
                text = opened.read(MOST_SECRET_CHARS).strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise ConfigError(f"The key's file {path} cannot be read: {why}.") from error
        if not text:
            raise ConfigError(f"The key's file {path} is empty.")
        return SecretStr(text)


class Limits(_Part):
    """What an endpoint bears, for each process that asks it. A release's own limits of time come before these.

    `concurrent`: requests at the same time; more wait, which counts against no limit of time. `queue_seconds`: how long
    one waits before it fails; None: as long as its caller does.
    """

    concurrent: Annotated[int, Field(ge=1, le=10_000)] | None = None
    queue_seconds: Seconds | None = None
    connect_seconds: Seconds | None = None
    first_byte_seconds: Seconds | None = None
    between_bytes_seconds: Seconds | None = None
    total_seconds: Seconds | None = None
    tries: Annotated[int, Field(ge=1, le=10)] | None = None

    def patience(self) -> dict[str, float]:
        """The limits of time and tries that are set, by the names of `Patience`."""
        return self.model_dump(exclude_none=True, exclude={"concurrent", "queue_seconds"})


class PriceRow(_Part):
    """USD per million tokens of one model, as in a template's `prices`."""

    version: Text
    input_per_million: Price
    output_per_million: Price


class EndpointEntry(_Part):
    """One endpoint as the file writes it. `model` is the model that `switchyard providers check` asks. `thoughts_tag`
    is the tag that encloses thoughts at the beginning of an answer, where the endpoint does not keep them apart."""

    preset: Annotated[str, AfterValidator(_known_preset)] | None = None
    protocol: Literal["openai", "gemini", "anthropic"]
    url: Address
    region: Annotated[str, Field(pattern=f"^{_PLACE}$")] | None = None
    resource: Annotated[str, Field(pattern=f"^{_PLACE}$")] | None = None
    key: KeySource | None = None
    key_header: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$")] | None = None
    headers: Annotated[dict[str, str], AfterValidator(_plain_headers)] = {}
    proxy: Address | None = None
    limits: Limits = Limits()
    prices: dict[Text, PriceRow] = {}
    model: Text | None = None
    thoughts_tag: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,30}$")] | None = None

    def address(self) -> str:
        """The address, with region and resource in their places."""
        return self.url.replace("{region}", self.region or "").replace("{resource}", self.resource or "")


def read_providers_file(path: Path) -> dict[str, EndpointEntry]:
    """The endpoints of a file by their names.

    Raises:
        ConfigError: it cannot be read, or something in it is wrong; the message has a line for each mistake.
    """
    try:
        _, data = read_yaml(path.read_text(encoding="utf-8"), EachKeyOnce)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(
            f"The file of endpoints {path} (SWITCHYARD_PROVIDERS) cannot be read: {_unreadable(error)}."
        ) from error
    given = data.get("endpoints") if isinstance(data, dict) and set(data) == {"endpoints"} else None
    if not isinstance(given, dict):
        raise ConfigError(f"{path} must hold the one field `endpoints`: a mapping of names to endpoints.")
    entries: dict[str, EndpointEntry] = {}
    mistakes: list[str] = []
    for name, fields in given.items():
        try:
            entries[str(name)] = _entry(name, fields)
        except ValidationError as error:
            mistakes += [_line(name, mistake) for mistake in error.errors()]
        except ValueError as error:
            mistakes.append(f"endpoint {name!r}: {error}")
    if mistakes:
        raise ConfigError("\n  ".join([f"{path} is wrong:", *mistakes]))
    return entries


@cache
def presets() -> Mapping[str, Mapping[str, Any]]:
    """The endpoints that are known by name, as parts of an entry."""
    return dict(read_yaml(_PRESETS.read_text(encoding="utf-8"))[1])


def _entry(name: Any, fields: Any) -> EndpointEntry:
    """Raises:
    ValueError: the entry is wrong (pydantic's `ValidationError` is one).
    """
    if not isinstance(name, str) or re.fullmatch(_ENDPOINT_NAME, name) is None:
        raise ValueError("a name has letters, digits, '-', '_' and '.', and begins with a letter or digit")
    if name == DEFAULT:
        raise ValueError("this name belongs to LLM_API_URL and LLM_API_KEY: choose another one")
    if not isinstance(fields, dict):
        raise ValueError("must be a mapping with `preset`, or with `protocol` and `url`")
    if isinstance(fields.get("key"), str):
        raise ValueError("key must say where the key is, {env: NAME} or {file: PATH}: never write the key into a file")
    preset = fields.get("preset")
    known = presets().get(preset, {}) if isinstance(preset, str) else {}
    merged = {**known, **fields}
    if isinstance(known.get("limits"), dict) and isinstance(fields.get("limits"), dict):
        merged["limits"] = {**known["limits"], **fields["limits"]}
    entry = EndpointEntry.model_validate(merged)
    for part in ("region", "resource"):
        if f"{{{part}}}" in entry.url and getattr(entry, part) is None:
            raise ValueError(f"{part} is missing: the address of the preset {preset} is {entry.url}")
    return entry


def _unreadable(error: Exception) -> str:
    """Why a file cannot be read, without a line of it: somebody may have written a key into it."""
    if isinstance(error, OSError):
        return str(error.strerror)
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8 (byte {error.start})"
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return f"line {mark.line + 1}: {problem}" if mark is not None else str(problem)


def _line(name: str, mistake: ErrorDetails) -> str:
    """One mistake of an endpoint, with its field."""
    where = ".".join(str(part) for part in mistake["loc"])
    if mistake["type"] == "extra_forbidden":
        known = f". An endpoint has: {', '.join(EndpointEntry.model_fields)}" if len(mistake["loc"]) == 1 else ""
        return f"endpoint {name!r}: {where} is not a field{known}"
    if mistake["type"] == "string_pattern_mismatch":
        return f"endpoint {name!r}: {where} does not have the form of {_PATTERNS.get(where, 'a name')}"
    return f"endpoint {name!r}: {where}{':' if mistake['type'] != 'missing' else ''} {what_is_wrong(mistake)}"


_PATTERNS = {
    "key.env": "a setting's name, such as GEMINI_EU_KEY",
    "region": "a region, such as eu-central-1",
    "resource": "the name of a resource, such as my-company",
    "key_header": "a header's name, such as api-key",
    "thoughts_tag": "a tag's name, such as think",
}
