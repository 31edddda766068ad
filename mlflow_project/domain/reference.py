"""How a person names a prompt, a model, or one release of it: `qa`, `qa/2` (a version), `qa@Production` (an alias).

In: text from a command line, a request or a file. Out: a `Reference`. Every place that reads such text uses
`reference`, so that one spelling means the same everywhere: `qa/0002` and `qa/2 ` are refused, never read as `qa/2`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mlflow_project.domain.release import version_number
from mlflow_project.errors import InvalidData

ALIASES = ("Candidate", "Staging", "Production", "Previous", "Canary")
"""The aliases that Switchyard gives a meaning. MLflow distinguishes `production` from `Production`."""

_REFERENCE = re.compile(r"(?P<name>[^/@\s]+)(?:/(?P<version>[^/@]*)|@(?P<alias>[^/@\s]+))?")


@dataclass(frozen=True)
class Reference:
    """A name, with a version number or an alias where one was given; never with both."""

    name: str
    version: int | None = None
    alias: str | None = None

    def __str__(self) -> str:
        if self.version is not None:
            return f"{self.name}/{self.version}"
        return self.name if self.alias is None else f"{self.name}@{self.alias}"


def reference(text: str) -> Reference:
    """Read `qa`, `qa/2` or `qa@Production`. A known alias is taken in any case.

    Raises:
        InvalidData: the text has another form.
    """
    match = _REFERENCE.fullmatch(text)
    if match is None:
        raise InvalidData(f"Cannot read {text!r}. Write a name, a version or an alias: qa, qa/2 or qa@Production.")
    name, version, alias = match["name"], match["version"], match["alias"]
    return Reference(name, None if version is None else version_number(version), alias and alias_named(alias))


def alias_named(text: str) -> str:
    """The alias as MLflow spells it: `production` is `Production`. Other aliases stay as they are written."""
    return next((alias for alias in ALIASES if alias.lower() == text.lower()), text)
