"""Arguments and options that several commands share. Reads versions: `qa/2`, `qa@Candidate` and `--version 2`.

Typer's help shows the class of each argument, so arguments are `Text` or `Reference`, never `str`. An option shows its
`metavar` instead, so each option has one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from mlflow_project.domain import reference as references
from mlflow_project.domain.reference import Reference, alias_named
from mlflow_project.domain.release import version_number
from mlflow_project.errors import InvalidData, NotFound

if TYPE_CHECKING:
    from mlflow_project.adapters.registry import Registry


class Text(str):
    """Marks an argument as text in the help. The command gets a plain `str`."""


def read_reference(text: str | Reference) -> Reference:
    """`domain.reference.reference`, with errors that Typer shows as wrong usage."""
    if isinstance(text, Reference):
        return text
    try:
        return references.reference(text)
    except InvalidData as error:
        raise typer.BadParameter(str(error)) from error


def read_name(text: str) -> str:
    """Read a name without a version, for commands about all versions of it."""
    found = read_reference(text)
    if found.version is not None or found.alias is not None:
        raise typer.BadParameter(f"This command takes a name without a version: {found.name}.")
    return found.name


def read_version(text: str | int) -> int:
    """Read a version number, with errors that Typer shows as wrong usage."""
    try:
        return version_number(str(text))
    except InvalidData as error:
        raise typer.BadParameter(str(error)) from error


def whole_number(least: int) -> Callable[[str | int], int]:
    """Make a parser of whole numbers from `least` on."""

    def parse(text: str | int) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", str(text)) or int(text) < least:
            raise typer.BadParameter(f"{text!r} is not a whole number from {least} on.")
        return int(text)

    return parse


def read_digest(text: str) -> str:
    """Read a digest in the ledger's form: `sha256:` and 64 hexadecimal digits."""
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", text):
        raise typer.BadParameter(f"{text!r} is not a digest: write sha256: and 64 hexadecimal digits in lower case.")
    return text


def amount(text: str | float) -> float:
    """Read a number that is 0 or more."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise typer.BadParameter(f"{text!r} is not a number from 0 on.")
    return number


Name = Annotated[Text, typer.Argument(metavar="NAME", parser=read_name, help="A prompt or model, as in qa.")]
Named = Annotated[
    Reference,
    typer.Argument(metavar="NAME/N", parser=read_reference, help="A version, as in qa/2 or qa@Candidate."),
]
Version = Annotated[
    int | None, typer.Option("--version", metavar="N", parser=read_version, help="The version, if NAME has none.")
]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why. The ledger keeps it.")]
DespiteRetraction = Annotated[
    str, typer.Option(metavar="REASON", help="Why a release that rests on retracted text may be live all the same.")
]
Alias = Annotated[str, typer.Option(metavar="ALIAS", parser=alias_named, help="Production, Staging, … in any case.")]


def version_of(named: Reference, option: int | None, registry: Registry) -> int:
    """The version that `NAME/N`, `NAME@ALIAS` or `--version` names.

    Raises:
        InvalidData: none of them was given, or two that differ. NotFound: the name has no such alias.
    """
    given = named.version if named.alias is None else _aliased(named.name, named.alias, registry)
    if given is not None and option is not None and given != option:
        raise InvalidData(f"{named} and --version {option} name two different versions. Give one of them.")
    version = given if given is not None else option
    if version is None:
        raise InvalidData(f"Which version? Write {named.name}/2, {named.name}@Candidate or --version 2.")
    return version


def two_versions(first: Reference, second: str, third: str | None) -> tuple[Reference, Reference]:
    """The versions that `qa 1 2`, `qa/1 qa/2`, `qa/1 2` or `qa@Production qa/2` name.

    Raises:
        InvalidData: only one version, three, or versions of two names.
    """
    written = [second] if third is None else [second, third]
    versions = [first] if first.version is not None or first.alias is not None else []
    for text in written:
        alone = "/" not in text and "@" not in text
        versions.append(Reference(first.name, version_number(text)) if alone else references.reference(text))
    if len(versions) != 2:
        raise InvalidData(f"Name two versions, as in `{first.name}/1 {first.name}/2` or `{first.name} 1 2`.")
    if versions[0].name != versions[1].name:
        raise InvalidData(
            f"{versions[0]} and {versions[1]} are different prompts: only versions of one can be compared."
        )
    return versions[0], versions[1]


def _aliased(name: str, alias: str, registry: Registry) -> int:
    entry = registry.entry(name)
    if entry is None:
        raise NotFound(f"No prompt or model is named {name!r}. `switchyard list` shows what exists.")
    in_any_case = {other.lower(): version for other, version in entry.aliases.items()}
    version = entry.aliases.get(alias, in_any_case.get(alias.lower()))
    if version is None:
        there = ", ".join(sorted(entry.aliases)) or "none"
        raise NotFound(f"{name} has no alias {alias!r}. Its aliases: {there}.")
    return version
