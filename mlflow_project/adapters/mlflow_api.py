"""MLflow's REST API: one HTTP client, and the only place that translates MLflow's errors into ours.

`Registry`, `Experiments` and `Assessments` stand on it. MLflow's own client is not used: its import takes seconds, it
makes five calls where one will do, and it blocks for minutes when the server is gone (see decision 10). httpx is
imported at the first call, because many commands make none.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from mlflow_project.errors import InvalidData, NotFound, Unavailable
from mlflow_project.settings import RegistrySettings

if TYPE_CHECKING:
    import httpx

_MISSING = {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"}
_EXISTS = "RESOURCE_ALREADY_EXISTS"


class MlflowRefused(InvalidData):
    """MLflow refuses what it was asked. `code` is MLflow's error code, such as INVALID_PARAMETER_VALUE."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def exists_already(self) -> bool:
        """Whether MLflow refuses because the name is taken."""
        return self.code == _EXISTS


class MlflowApi:
    """Calls MLflow's REST API. Paths begin after `/api/`, for example `2.0/mlflow/runs/get`.

    Every call may raise:
        Unavailable: MLflow does not answer, answers with an error of its own, or something else answers in its place.
        NotFound: MLflow says that what was asked for does not exist.
        MlflowRefused: MLflow refuses the request; a subclass of InvalidData.
    """

    def __init__(self, settings: RegistrySettings, *, least_timeout: float = 0.0) -> None:
        self.uri = settings.mlflow_uri.rstrip("/")
        self._timeout = max(least_timeout, settings.registry_timeout)

    @cached_property
    def _http(self) -> httpx.Client:
        import httpx

        return httpx.Client(base_url=self.uri, timeout=self._timeout)

    def ping(self) -> None:
        """Ask only whether the server answers. That costs MLflow a tenth of any other question."""
        if self._exchange("GET", "/health").status_code != 200:
            raise Unavailable(f"MLflow at {self.uri} is not well: its /health does not answer with 200.")

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Read JSON. Tried once more when the server had closed an idle connection."""
        try:
            return self._json(self._request("GET", path, params=params), path)
        except _Disconnected:
            return self._json(self._request("GET", path, params=params), path)

    def send(self, method: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send JSON by POST or DELETE, and read the answer. Never repeated."""
        return self._json(self._request(method, path, json=body), path)

    def download(self, path: str) -> bytes:
        """A file's bytes."""
        return self._request("GET", path).content

    def upload(self, path: str, data: bytes) -> None:
        """Write a file."""
        self._request("PUT", path, content=data)

    def close(self) -> None:
        """Close the connections, if any were opened."""
        if "_http" in self.__dict__:
            self._http.close()

    def _request(self, method: str, path: str, **rest: Any) -> httpx.Response:
        response = self._exchange(method, f"/api/{path}", **rest)
        if not response.is_success:
            self._fail(path, response)
        return response

    def _exchange(self, method: str, address: str, **rest: Any) -> httpx.Response:
        import httpx

        try:
            return self._http.request(method, address, **rest)
        except httpx.RemoteProtocolError as error:
            raise _Disconnected(f"MLflow at {self.uri} closed the connection in mid-answer.") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unavailable(
                f"MLflow at {self.uri} does not answer ({type(error).__name__}): is it up? `make status` tells, "
                "`make up` starts it."
            ) from error

    def _json(self, response: httpx.Response, path: str) -> dict[str, Any]:
        data = _object(response)
        if data is None:
            raise Unavailable(f"MLflow at {self.uri} answered {path} with something else than a JSON object.")
        return data

    def _fail(self, path: str, response: httpx.Response) -> NoReturn:
        """Raise our error for an answer that is not a success.

        A 404 counts as "does not exist" only with MLflow's own error code: a proxy or a wrong address answers 404 too.
        """
        status, data = response.status_code, _object(response) or {}
        code, message = str(data.get("error_code", "")), str(data.get("message", ""))[:300]
        if code in _MISSING:
            raise NotFound(f"MLflow at {self.uri}: {message}")
        if status in {401, 403}:
            raise MlflowRefused(
                f"MLflow at {self.uri} refuses this caller ({status}): check its user and host settings.", code
            )
        if 400 <= status < 500 and code:
            raise MlflowRefused(f"MLflow at {self.uri} refuses {path}: {message or code}", code)
        raise Unavailable(f"MLflow at {self.uri} failed on {path} with status {status}: {message or 'no reason given'}")


class _Disconnected(Unavailable):
    """The connection ended before an answer."""


def _object(response: httpx.Response) -> dict[str, Any] | None:
    """The JSON object in an answer; None when there is none."""
    try:
        data = response.json()
    except ValueError:
        return None
    return data if isinstance(data, dict) else None
