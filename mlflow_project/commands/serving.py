"""`follow`, `ask` and `keys`: run a host's follower, ask the server a question, manage API keys."""

from __future__ import annotations

import json as json_format
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console

from mlflow_project.commands.arguments import Text, read_reference
from mlflow_project.commands.output import Json, emit, reports_errors, table
from mlflow_project.domain.reference import Reference, alias_named
from mlflow_project.errors import InvalidData

if TYPE_CHECKING:
    from mlflow_project.api_keys import ApiKey, KeyFile
    from mlflow_project.settings import ClientSettings


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(follow)
    app.command()(ask)
    keys = typer.Typer(name="keys", help="Manage API keys.", no_args_is_help=True)
    for command, name in ((create_key, "create"), (list_keys, "list"), (revoke_key, "revoke")):
        keys.command(name)(command)
    app.add_typer(keys)


@reports_errors
def follow() -> None:
    """Run this host's follower, until it is stopped.

    The follower watches registry and ledger, verifies releases, and writes to disk what this host's workers serve.
    """
    from mlflow_project.follower.process import follow as run
    from mlflow_project.private_files import exclusive
    from mlflow_project.settings import FollowerSettings, load

    with exclusive(load(FollowerSettings).serving_folder / "follower", wait=False):
        run()


@reports_errors
def ask(
    named: Annotated[
        Reference, typer.Argument(metavar="NAME", parser=read_reference, help="A prompt or model: qa, or qa@Staging.")
    ],
    question: Annotated[
        Text | None,
        typer.Argument(metavar="QUESTION", parser=str, help="For a prompt: the template's variable `question`."),
    ] = None,
    rows: Annotated[
        str | None, typer.Option(metavar="JSON", help="For a model: the rows, as in '[{\"amount\": 12.5}]'.")
    ] = None,
    alias: Annotated[
        str | None,
        typer.Option(metavar="ALIAS", parser=alias_named, help="The alias that answers. Default: Production."),
    ] = None,
    context: Annotated[
        str | None, typer.Option(metavar="TEXT", help="A text to answer from, besides what retrieval finds.")
    ] = None,
    json: Json = False,
) -> None:
    """Ask the server a question, or for predictions.

    A prompt answers QUESTION, and a model predicts the rows of --rows. Says which release answered.
    """
    from mlflow_project.settings import ClientSettings, load

    asked, settings = _alias_to_ask(named, alias), load(ClientSettings)
    if (question is None) == (rows is None):
        raise InvalidData("Give either a question, which a prompt answers, or --rows, which a model predicts.")
    if rows is not None:
        predicted = _predict(settings, named.name, asked, rows)
        emit(predicted, json, lambda console: _show_predictions(console, predicted))
        return
    data = {"variables": {"question": question}, "context": context}
    body = _invoke(settings, f"prompts/{named.name}/invocations", asked, data)
    emit(body, json, lambda console: _show(console, body))


@reports_errors
def create_key(
    owner: Annotated[
        Text, typer.Argument(metavar="OWNER", parser=str, help="Whose key it is. Records and metrics show this name.")
    ],
    role: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROLE",
            help="call, choose-alias, viewer, reviewer, operator, approver or admin; repeatable. Default: call.",
        ),
    ] = None,
    requests: Annotated[
        str | None, typer.Option(metavar="LIMIT", help="Rate limit of this key, as in 60/minute or 10/second.")
    ] = None,
    tokens: Annotated[
        str | None, typer.Option(metavar="LIMIT", help="Token budget of this key, as in 200000/day.")
    ] = None,
    usd: Annotated[str | None, typer.Option(metavar="LIMIT", help="Dollar budget of this key, as in 2.50/day.")] = None,
    json: Json = False,
) -> None:
    """Create an API key. It is shown once: only its hash is stored."""
    from mlflow_project.allowances import windows
    from mlflow_project.api_keys import shown

    given = {"requests": requests, "tokens": tokens, "usd": usd}
    limits = {kind: text for kind, text in given.items() if text is not None}
    windows(limits)
    token, key = _key_file().create(owner, tuple(role or ["call"]), limits)
    emit({"key": token, **shown(key)}, json, lambda console: _show_key(console, token, key))


@reports_errors
def list_keys(json: Json = False) -> None:
    """List all API keys, also revoked ones."""
    from mlflow_project.api_keys import shown

    keys = [shown(key) for key in _key_file().all()]
    rows = [
        [key["id"], key["owner"], ", ".join(key["roles"]), _limits(key), key["created"], key["revoked"]] for key in keys
    ]
    heads = ["id", "owner", "roles", "limits", "created", "revoked"]
    emit(keys, json, lambda console: console.print(table(heads, rows)))


@reports_errors
def revoke_key(
    key_id: Annotated[Text, typer.Argument(metavar="ID", parser=str, help="The id, as `keys list` shows it.")],
    json: Json = False,
) -> None:
    """Revoke an API key. Within a second no server accepts it."""
    from mlflow_project.api_keys import shown

    key = _key_file().revoke(key_id)
    emit(shown(key), json, lambda console: console.print(f"Revoked {key.id} of {key.owner}.", markup=False))


def _alias_to_ask(named: Reference, option: str | None) -> str:
    """The alias that is asked.

    Raises:
        InvalidData: the arguments name a version, or two aliases.
    """
    if named.version is not None:
        raise InvalidData(
            f"The server answers by alias, not by version. Write {named.name}@Production, or promote {named}."
        )
    if named.alias is not None and option is not None and named.alias != option:
        raise InvalidData(f"{named} and --alias {option} name two different aliases. Give one of them.")
    return named.alias or option or "Production"


def _key_file() -> KeyFile:
    from mlflow_project.api_keys import KeyFile
    from mlflow_project.settings import KeySettings, load

    return KeyFile(load(KeySettings).api_keys_file)


def _limits(key: dict[str, Any]) -> str:
    return ", ".join(f"{text} {kind}" for kind, text in key["limits"].items())


def _show_key(console: Console, token: str, key: ApiKey) -> None:
    console.print(token, markup=False, soft_wrap=True)
    console.print(f"Key {key.id} of {key.owner} ({', '.join(key.roles)}). It is not shown again.", style="dim")


def _predict(settings: ClientSettings, name: str, alias: str, rows: str) -> dict[str, Any]:
    """Predictions of rows, and the release that made them.

    Raises:
        InvalidData: the rows are not JSON, or the model does not take them.
    """
    try:
        records = json_format.loads(rows, parse_constant=_refuse_constant)
    except ValueError as error:
        said = f"Cannot read --rows as JSON: {error}. Write a list of objects, as in '[{{\"amount\": 12.5}}]'."
        raise InvalidData(said) from error
    body = _invoke(settings, f"models/{name}/invocations", alias, {"dataframe_records": records})
    return {**body, "release": body["headers"].get("x-release")}


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON, and a missing number is null")


def _show_predictions(console: Console, body: dict[str, Any]) -> None:
    console.print(table(["prediction"], [[prediction] for prediction in body["predictions"]]))
    console.print(f"\nX-Release: {body['release']}", style="dim", markup=False)


def _invoke(settings: ClientSettings, path: str, alias: str, body: dict[str, Any]) -> dict[str, Any]:
    from mlflow_project.adapters.server import post

    return post(settings, path, body, {"X-Alias": alias})


def _show(console: Console, body: dict[str, Any]) -> None:
    console.print(body["text"] if body["text"] is not None else "No response from LLM.", markup=False)
    named = {"X-Release": "x-release", "X-Release-Stale": "x-release-stale", "X-Request-Id": "x-request-id"}
    shown_headers = [f"{name}: {body['headers'][key]}" for name, key in named.items() if key in body["headers"]]
    console.print(f"\n{'  '.join(shown_headers)}  ({body['latency_ms']:.1f} ms)", style="dim", markup=False)
    if body["citations"]:
        places = [[c["document_id"], c["start"], c["end"], c["chunk_id"]] for c in body["citations"]]
        pages = [", ".join(map(str, c.get("pages", []))) for c in body["citations"]]
        names = ["document", "from", "to", "chunk"]
        if any(pages):
            names, places = [*names, "pages"], [[*place, own] for place, own in zip(places, pages, strict=True)]
        console.print(table(names, places))
