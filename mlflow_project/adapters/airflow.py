"""Airflow over its REST API: tell it of a new Candidate, read and trigger runs. In: address and credentials. Out: JSON.

Airflow is optional: without a configured address, no event is sent. This module must not import Airflow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from mlflow_project.errors import ConfigError, NotFound, Unavailable
from mlflow_project.settings import WebAddress, load, state_folder

CANDIDATE_ASSET = "switchyard_candidate"
CANDIDATE_DAG = "evaluate_and_promote"


class AirflowSettings(BaseSettings):
    """Where Airflow is, and who we are there. Without `airflow_url` there is no Airflow.

    With `announce_candidates`, `switchyard register` and `switchyard drift` always tell Airflow what they found, which
    starts runs there; without it they do so only with `--notify`.
    """

    model_config = SettingsConfigDict(env_prefix="SWITCHYARD_", extra="ignore", env_ignore_empty=True)

    airflow_url: WebAddress | None = None
    airflow_user: str | None = None
    airflow_password: SecretStr | None = None
    airflow_timeout: float = Field(default=15.0, gt=0)
    announce_candidates: bool = False


def airflow_settings() -> AirflowSettings:
    """Read them from the environment, then `.env`, then the file that `make airflow` writes into the state folder.

    Raises:
        ConfigError: one of them is wrong.
    """
    return load(AirflowSettings, from_file=state_folder() / "airflow" / "airflow.env")


class Airflow:
    """A logged-in client. All calls may raise `Unavailable`; what Airflow does not know is `NotFound`."""

    def __init__(self, settings: AirflowSettings) -> None:
        if settings.airflow_url is None or settings.airflow_user is None or settings.airflow_password is None:
            raise ConfigError(
                "Airflow is not configured: set SWITCHYARD_AIRFLOW_URL, SWITCHYARD_AIRFLOW_USER and "
                "SWITCHYARD_AIRFLOW_PASSWORD (`make airflow` writes them for the local one)."
            )
        self._url = settings.airflow_url.rstrip("/")
        self._client = httpx.Client(timeout=settings.airflow_timeout)
        credentials = {"username": settings.airflow_user, "password": settings.airflow_password.get_secret_value()}
        token = self._send("POST", "/auth/token", credentials)["access_token"]
        self._client.headers["Authorization"] = f"Bearer {token}"

    def get(self, path: str, **query: Any) -> Any:
        """Read `/api/v2/<path>`."""
        return self._send("GET", f"/api/v2/{path}", query=query)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Post to `/api/v2/<path>`."""
        return self._send("POST", f"/api/v2/{path}", body)

    def patch(self, path: str, body: dict[str, Any]) -> Any:
        """Change `/api/v2/<path>`."""
        return self._send("PATCH", f"/api/v2/{path}", body)

    def asset_event(self, asset: str, extra: dict[str, Any]) -> None:
        """Say that the asset of this name changed, and how: every DAG that waits for it gets a run."""
        found = self.get("assets", name_pattern=asset, limit=100)["assets"]
        ids = [row["id"] for row in found if row["name"] == asset]
        if not ids:
            raise NotFound(f"Airflow at {self._url} knows no asset {asset!r}: have its DAGs been read?")
        self.post("assets/events", {"asset_id": ids[0], "extra": extra})

    def _send(self, method: str, path: str, body: Any = None, query: dict[str, Any] | None = None) -> Any:
        try:
            answer = self._client.request(method, self._url + path, json=body, params=query or None)
        except httpx.HTTPError as error:
            raise Unavailable(
                f"Airflow at {self._url} does not answer ({type(error).__name__}): is it up? `make airflow` starts it."
            ) from error
        if answer.status_code in (401, 403):
            raise ConfigError(f"Airflow at {self._url} refuses {method} {path}: check SWITCHYARD_AIRFLOW_PASSWORD.")
        if answer.status_code == 404:
            raise NotFound(f"Airflow at {self._url} has no {path}.")
        if answer.is_error:
            raise Unavailable(f"Airflow at {self._url} answered {answer.status_code} to {method} {path}.")
        return answer.json() if answer.content else None


def announce_candidates(settings: AirflowSettings, candidates: Sequence[tuple[str, int]]) -> str:
    """Tell Airflow of new versions (name, number), which starts `evaluate_and_promote`, unless that DAG is paused.
    Returns a sentence that says what Airflow was told, what follows, and where to look.

    Raises:
        ConfigError: Airflow is not configured. Unavailable: it does not answer. The versions stay registered.
    """
    airflow = Airflow(settings)
    for name, version in candidates:
        airflow.asset_event(CANDIDATE_ASSET, {"name": name, "version": version})
    labels = ", ".join(f"{name}/{version}" for name, version in candidates)
    paused = airflow.get(f"dags/{CANDIDATE_DAG}")["is_paused"]
    follows = "is paused there, so nothing starts until somebody unpauses it" if paused else "starts"
    page = f"{(settings.airflow_url or '').rstrip('/')}/dags/{CANDIDATE_DAG}"
    return f"Airflow was told of {labels}: {CANDIDATE_DAG} {follows}. Look at {page}."
