"""Reads the YAML files of a model's folder into checked declarations.

In: a path and the pydantic class of its declaration. Out: the declaration, or one error that lists every mistake.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.rules.plain_yaml import read_yaml


class Declaration(BaseModel):
    """A part of a declaration: it cannot change, and an unknown key is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


D = TypeVar("D", bound=Declaration)

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def _microseconds(text: Any) -> Any:
    match = re.fullmatch(r"(\d{1,9})([smhd])", text) if isinstance(text, str) else None
    if match is None or int(match[1]) == 0:
        raise ValueError("write a duration as 30m, 24h or 7d")
    return int(match[1]) * _UNITS[match[2]] * 1_000_000


def _column_name(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", text):
        raise ValueError(f"{text!r} must begin with a lower-case letter and hold only those, digits and _")
    return text


Duration = Annotated[
    int, BeforeValidator(_microseconds), PlainSerializer(lambda value: f"{value // 1_000_000}s", return_type=str)
]
"""Written as `30m`, `24h` or `7d`; held in microseconds."""

ColumnName = Annotated[str, AfterValidator(_column_name)]
Number = Annotated[float | None, BeforeValidator(lambda value: float(value) if type(value) is int else value)]
Texts = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]


def model_folder(text: str) -> Path:
    """The folder of a model: the one that is named, or the one of this name below `models/`.

    Raises:
        NotFound: there is neither.
    """
    for folder in (Path(text), Path("models") / text):
        if folder.is_dir():
            return folder.resolve()
    raise NotFound(f"There is no model folder {text}, and none named {text} below models/.")


def read_declaration(path: Path, kind: type[D]) -> D:
    """The declaration in a YAML file.

    Raises:
        NotFound: there is no such file. InvalidData: it is no such declaration; a line for each mistake.
    """
    try:
        _, data = read_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFound(f"There is no file {path}.") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidData(f"{path} cannot be read: {error}.") from error
    return declaration_from(data, kind, str(path))


def declaration_from(data: Any, kind: type[D], source: str) -> D:
    """The declaration in plain data.

    Raises:
        InvalidData: a line for each mistake.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, one['loc'])) or 'the file'}: {one['msg']}" for one in error.errors()]
        raise InvalidData("\n".join([f"{source} has {len(lines)} mistake(s):", *lines])) from error
