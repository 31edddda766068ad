"""Asks the server over HTTP, as any caller does. In: a path and a JSON body. Out: the JSON of the response."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlflow_project.adapters.connections import FAILURES, cause, pool_for
from mlflow_project.errors import InvalidData, NotFound, Refused, Unavailable, WorkspaceError
from mlflow_project.settings import ClientSettings


def post(settings: ClientSettings, path: str, body: Any, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """POST to the server. Returns the body, with the response headers that begin with `x-` under `headers`.

    Raises:
        Unavailable: it does not answer, is too busy, or its provider failed. NotFound: nothing is live there.
        Refused: the API key is missing or may not do this. InvalidData: the server does not take the body.
    """
    sent = dict(headers or {})
    if settings.api_key is not None:
        sent["Authorization"] = f"Bearer {settings.api_key.get_secret_value()}"
    url = f"{settings.api_url.rstrip('/')}/{path}"
    try:
        response = pool_for(url).request("POST", url, json=body, headers=sent, timeout=60, retries=False)
    except FAILURES as error:
        raise Unavailable(
            f"The server at {settings.api_url} does not answer ({cause(error)}): is it up? "
            "`make status` tells, `make up` starts it."
        ) from error
    if response.status == 200:
        named = {name.lower(): value for name, value in response.headers.items() if name.lower().startswith("x-")}
        return {**response.json(), "headers": named}
    raise _failure(response.status, _detail(response))


def _detail(response: Any) -> str:
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"The server answered with HTTP {response.status}."


def _failure(status: int, detail: str) -> WorkspaceError:
    if status == 404:
        return NotFound(detail)
    if status in {401, 403}:
        return Refused(detail)
    return InvalidData(detail) if status < 500 and status != 429 else Unavailable(detail)
