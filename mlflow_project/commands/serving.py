"""`switchyard follow` and `switchyard ask`: the host's follower, and one question through the server."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console

from mlflow_project.commands.output import Json, emit, reports_errors, table
from mlflow_project.errors import InvalidData, NotFound, Refused, Unavailable, WorkspaceError
from mlflow_project.settings import ClientSettings, load

Name = Annotated[str, typer.Argument(help="The prompt's name.")]


def add_to(app: typer.Typer) -> None:
    """Add this room's commands."""
    app.command()(follow)
    app.command()(ask)


@reports_errors
def follow() -> None:
    """Watch registry and ledger, and write what this host's workers serve. Runs until told to stop."""
    from mlflow_project.follower.process import follow as run

    run()


@reports_errors
def ask(
    name: Name,
    question: Annotated[str, typer.Argument(help="The question, as the template's variable `question`.")],
    alias: Annotated[str, typer.Option(help="Which alias answers.")] = "Production",
    context: Annotated[str | None, typer.Option(help="A text to answer from, beside what is retrieved.")] = None,
    json: Json = False,
) -> None:
    """Ask one question through the server, and say which release answered."""
    body = _invoke(load(ClientSettings), name, alias, {"variables": {"question": question}, "context": context})
    emit(body, json, lambda console: _show(console, body))


def _invoke(settings: ClientSettings, name: str, alias: str, body: dict[str, Any]) -> dict[str, Any]:
    import httpx

    headers = {"X-Alias": alias}
    if settings.api_key is not None:
        headers["Authorization"] = f"Bearer {settings.api_key.get_secret_value()}"
    url = f"{settings.api_url.rstrip('/')}/prompts/{name}/invocations"
    try:
        response = httpx.post(url, json=body, headers=headers, timeout=60)
    except httpx.HTTPError as error:
        raise Unavailable(
            f"The server at {settings.api_url} does not answer ({type(error).__name__}): is it up? `make status` tells, "
            "`make up` starts it."
        ) from error
    if response.is_success:
        found: dict[str, Any] = response.json()
        return found
    raise _failure(response.status_code, _detail(response))


def _detail(response: Any) -> str:
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"The server answered with HTTP {response.status_code}."


def _failure(status: int, detail: str) -> WorkspaceError:
    if status == 404:
        return NotFound(detail)
    if status in {401, 403}:
        return Refused(detail)
    return InvalidData(detail) if status < 500 and status != 429 else Unavailable(detail)


def _show(console: Console, body: dict[str, Any]) -> None:
    console.print(body["text"] if body["text"] is not None else "No response from LLM.", markup=False)
    console.print(f"\n{body['release']} in {body['latency_ms']:.1f} ms, request {body['request_id']}", style="dim")
    if body["citations"]:
        rows = [[c["document_id"], c["start"], c["end"], c["chunk_id"]] for c in body["citations"]]
        console.print(table(["document", "from", "to", "chunk"], rows))
