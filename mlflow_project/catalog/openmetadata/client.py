"""OpenMetadata's REST API: reads and writes entities by their names.

In: a route, a name, a body. Out: the server's JSON. `PUT` creates an entity or updates it, so calls can be repeated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx2

from mlflow_project.errors import ConfigError, InvalidData, Refused, Unavailable
from mlflow_project.settings import CatalogSettings

_SECONDS = 30.0


class OpenMetadata:
    """All calls raise `Unavailable` if the server does not answer, `Refused` if the token is not accepted, and
    `InvalidData` if it refuses a request."""

    def __init__(self, settings: CatalogSettings) -> None:
        if settings.openmetadata_url is None:
            raise ConfigError("Which OpenMetadata server? Set SWITCHYARD_OPENMETADATA_URL, as in http://host:8585/api.")
        self.url = settings.openmetadata_url.rstrip("/")
        token = settings.openmetadata_token
        headers = {"Authorization": f"Bearer {token.get_secret_value()}"} if token is not None else {}
        self._client = httpx2.Client(headers=headers, timeout=_SECONDS)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def version(self) -> str:
        """The server's version, such as 2.0.7."""
        return str(self._asked("GET", "system/version")["version"])

    def find(self, route: str, name: str, fields: str = "") -> dict[str, Any] | None:
        """An entity by its fully qualified name; None if there is none."""
        query = {"fields": fields} if fields else None
        return self._maybe(f"{route}/name/{quote(name, safe='')}", query)

    def get(self, path: str) -> dict[str, Any] | None:
        """What is at a path; None if nothing is."""
        return self._maybe(path, None)

    def put(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create or update."""
        return self._asked("PUT", path, body)

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Add."""
        return self._asked("POST", path, body)

    def _maybe(self, path: str, query: Mapping[str, str] | None) -> dict[str, Any] | None:
        response = self._sent("GET", path, None, query)
        return None if response.status_code == 404 else self._read(response, "GET", path)

    def _asked(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return self._read(self._sent(method, path, body), method, path)

    def _sent(
        self, method: str, path: str, body: Mapping[str, Any] | None, query: Mapping[str, str] | None = None
    ) -> httpx2.Response:
        try:
            return self._client.request(method, f"{self.url}/v1/{path}", json=body, params=query)
        except httpx2.HTTPError as error:
            raise Unavailable(
                f"OpenMetadata at {self.url} does not answer ({error or type(error).__name__})."
            ) from error

    def _read(self, response: httpx2.Response, method: str, path: str) -> dict[str, Any]:
        status, said = response.status_code, response.text[:300]
        if status in (401, 403):
            raise Refused(f"OpenMetadata at {self.url} does not accept SWITCHYARD_OPENMETADATA_TOKEN: HTTP {status}.")
        if status >= 500 or status == 429:
            raise Unavailable(f"OpenMetadata at {self.url} answers {method} {path} with HTTP {status}: {said}")
        if status >= 400:
            raise InvalidData(f"OpenMetadata at {self.url} refuses {method} {path} with HTTP {status}: {said}")
        try:
            found = response.json() if response.content else {}
        except ValueError as error:
            raise Unavailable(f"{self.url} answers with no JSON: is it OpenMetadata's API?") from error
        return found if isinstance(found, dict) else {}
