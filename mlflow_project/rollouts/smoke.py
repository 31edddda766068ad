"""Asks a canary a few questions through the real server, before any caller's request reaches it.

In: the bodies of requests to `/prompts/NAME/invocations` or `/models/NAME/invocations`. The requests choose the alias
`Canary`, so with API keys the caller's key needs the role `choose-alias`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow_project.domain.rollout import CANARY, Rollout
from mlflow_project.errors import InvalidData, Refused, Unavailable
from mlflow_project.evaluation.cases import load_cases
from mlflow_project.settings import ClientSettings

MOST_QUESTIONS = 5
_SECONDS = 60.0

Bodies = Sequence[Mapping[str, Any]]


def bodies_from(source: Path, kind: str) -> Bodies:
    """The first five requests of a file: cases of an evaluation for a prompt, bodies as JSON lines for a model.

    Raises:
        NotFound, InvalidData: there is no such file, or it cannot be read.
    """
    if kind == "prompt":
        cases = load_cases(source)[:MOST_QUESTIONS]
        return [{"variables": {"question": case.question, **case.variables}, "context": case.context} for case in cases]
    try:
        lines = [line for line in source.read_text(encoding="utf-8").splitlines() if line.strip()]
        found = [json.loads(line) for line in lines[:MOST_QUESTIONS]]
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidData(f"The smoke requests in {source} cannot be read as JSON lines: {error}.") from error
    if not found or not all(isinstance(body, Mapping) for body in found):
        raise InvalidData(f"{source} must have one JSON object per line, each the body of a request to the model.")
    return found


def ask_canary(client: ClientSettings, rollout: Rollout, bodies: Bodies) -> int:
    """Ask every question. Returns how many were answered.

    Raises:
        Refused: the canary did not answer one of them. Unavailable: the server cannot be reached.
    """
    import httpx

    headers = {"X-Alias": CANARY}
    if client.api_key is not None:
        headers["Authorization"] = f"Bearer {client.api_key.get_secret_value()}"
    url = f"{client.api_url.rstrip('/')}/{rollout.kind}s/{rollout.name}/invocations"
    with httpx.Client(headers=headers, timeout=_SECONDS) as http:
        for number, body in enumerate(bodies, start=1):
            try:
                response = http.post(url, json=body)
            except httpx.HTTPError as error:
                raise Unavailable(
                    f"The server at {client.api_url} did not answer smoke question {number} ({type(error).__name__})."
                ) from error
            _check(response, rollout, number, len(bodies))
    return len(bodies)


def _check(response: Any, rollout: Rollout, number: int, of: int) -> None:
    if not response.is_success:
        detail = response.text[:300]
        raise Refused(f"{rollout.label} failed smoke question {number} of {of}: HTTP {response.status_code}, {detail}")
    if response.headers.get("X-Release-Digest") != rollout.digest:
        answered = response.headers.get("X-Release")
        raise Refused(f"Smoke question {number} of {of} for {rollout.label} was answered by {answered}.")
