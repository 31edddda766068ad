"""OpenAI's API of files and fine-tuning jobs, as OpenAI itself and compatible servers offer it.

In: a file, or the description of a job. Out: ids and `TuningJob`.
Source: https://platform.openai.com/docs/api-reference/fine-tuning.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from mlflow_project.adapters.providers.complaint import complaint, retry_after
from mlflow_project.adapters.providers.endpoints import Endpoint
from mlflow_project.errors import ConfigError, InvalidData, NotFound, ProviderError
from mlflow_project.rules.masking import Masker

KEY = "switchyard"
"""The field of a job's metadata that says which request the job belongs to."""
TRIES = 5
LONGEST_PAUSE_SECONDS = 30.0
_METHOD = "/chat/completions"
_PAGE = 100
_MOST_PAGES = 10


@dataclass(frozen=True)
class TuningJob:
    """A job of the provider. `status` is validating_files, queued, running, paused, succeeded, failed or cancelled.

    `tuned_model` is the name of the new model, once there is one. `error` is the provider's reason for a failure.
    """

    id: str
    status: str
    tuned_model: str | None = None
    trained_tokens: int | None = None
    error: str = ""

    @property
    def is_over(self) -> bool:
        """Whether the job will not change any more."""
        return self.status in {"succeeded", "failed", "cancelled"}


class TuningApi:
    """Every call may raise:
    ProviderError: the provider does not answer, or answers with an error of its own, after a few tries.
    InvalidData: the provider refuses what was asked.
    NotFound: there is no such job or file.
    """

    def __init__(self, endpoint: Endpoint, masker: Masker) -> None:
        """Raises:
        ConfigError: the endpoint speaks another protocol.
        """
        if endpoint.protocol not in {None, "openai"} or "enerateContent" in endpoint.url:
            raise ConfigError(
                f"Fine-tuning needs an OpenAI-compatible API, and the endpoint {endpoint.name!r} is none. Name another "
                "with --endpoint, or set LLM_API_URL to an address that ends with /v1."
            )
        self._secret = endpoint.key.get_secret_value() if endpoint.key else ""
        self._masker = masker
        self.url = endpoint.url.rstrip("/").removesuffix(_METHOD)
        headers, limits = endpoint.headers_with_key("openai"), httpx.Timeout(60.0, connect=10.0, write=300.0)
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=limits, proxy=endpoint.proxy)

    def upload(self, name: str, lines: bytes) -> str:
        """Upload a file of examples. Returns its id."""
        files = {"file": (name, lines, "application/jsonl")}
        return _text(self._send("POST", "/files", data={"purpose": "fine-tune"}, files=files), "id")

    def create(self, description: Mapping[str, Any], key: str) -> TuningJob:
        """Create a job. It is tried once: whoever is not sure whether it exists asks `find`."""
        body = {**description, "metadata": {KEY: key}}
        return _job(self._send("POST", "/fine_tuning/jobs", tries=1, json=body))

    def find(self, key: str) -> TuningJob | None:
        """The newest job of this key that neither failed nor was cancelled, among the newest thousand."""
        after: dict[str, str] = {}
        for _ in range(_MOST_PAGES):
            page = self._send("GET", "/fine_tuning/jobs", params={"limit": str(_PAGE), **after})
            rows = [row for row in page.get("data") or () if isinstance(row, dict)]
            for row in rows:
                if (row.get("metadata") or {}).get(KEY) == key and row.get("status") not in {"failed", "cancelled"}:
                    return _job(row)
            if not page.get("has_more") or not rows:
                return None
            after = {"after": _text(rows[-1], "id")}
        return None

    def job(self, job_id: str) -> TuningJob:
        """A job as it is now."""
        return _job(self._send("GET", f"/fine_tuning/jobs/{job_id}"))

    def cancel(self, job_id: str) -> TuningJob:
        """Cancel a job."""
        return _job(self._send("POST", f"/fine_tuning/jobs/{job_id}/cancel"))

    def _send(self, method: str, path: str, *, tries: int = TRIES, **rest: Any) -> dict[str, Any]:
        """Ask, again after a pause while the provider is out of reach or busy."""
        for left in reversed(range(tries)):
            try:
                return self._object(self._http.request(method, path, **rest))
            except httpx.HTTPError as error:
                failure = ProviderError(f"{self.url} does not answer ({type(error).__name__}).", kind="transport")
                failure.__cause__ = error
            except ProviderError as error:
                failure = error
            if not left:
                raise failure
            time.sleep(_pause(tries - left, failure.retry_after))
        raise AssertionError("unreachable")

    def _object(self, response: httpx.Response) -> dict[str, Any]:
        status = response.status_code
        if response.is_success:
            try:
                data = response.json()
            except ValueError:
                data = None
            if isinstance(data, dict):
                return data
            raise ProviderError(f"{self.url} answered with something that is no JSON object.", kind="invalid_json")
        said = complaint(status, response.content[:65_536], self._secret, (), self._masker)
        if status == 404:
            raise NotFound(f"{self.url} has no such file or job, or no fine-tuning at all: {said}")
        if status == 429 or status >= 500:
            wait = retry_after(response.headers.get("Retry-After"))
            raise ProviderError(
                f"{self.url} answered {status}: {said}", kind="http_error", status=status, retry_after=wait
            )
        if status in {401, 403}:
            raise ConfigError(f"{self.url} refuses the key ({status}): {said} Check its key.")
        raise InvalidData(f"{self.url} refuses this ({status}): {said}")


def poll(ask: Callable[[], TuningJob], tell: Callable[[TuningJob], None], *, first: float, longest: float) -> TuningJob:
    """Ask until the job is over, with pauses in seconds that grow by half from `first` to `longest`."""
    pause = first
    while not (job := ask()).is_over:
        tell(job)
        time.sleep(pause)
        pause = min(longest, 1.5 * pause)
    return job


def _pause(failures: int, wanted: float | None) -> float:
    """Seconds until the next try: what the provider asked for, or twice as long each time, with some chance in it."""
    own = 0.5 * 2**failures * random.uniform(0.8, 1.2)
    return min(LONGEST_PAUSE_SECONDS, own if wanted is None else wanted)


def _job(data: Mapping[str, Any]) -> TuningJob:
    error = data.get("error")
    said = error.get("message") if isinstance(error, dict) else None
    tokens = data.get("trained_tokens")
    return TuningJob(
        id=_text(data, "id"),
        status=_text(data, "status"),
        tuned_model=data.get("fine_tuned_model") or None,
        trained_tokens=tokens if isinstance(tokens, int) else None,
        error=said if isinstance(said, str) else "",
    )


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, str) or not value:
        raise ProviderError(f"The provider's answer has no {name!r}.", kind="invalid_json")
    return value
