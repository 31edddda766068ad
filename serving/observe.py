"""What is said about each answered request: one log event, `LLM Query`, and the metrics of the catalogue.

Texts are left out unless `SWITCHYARD_LOG_TEXTS` asks for them, and then they are masked and cut. When masking breaks,
no text is logged.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fastapi import Request
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from mlflow_project.domain.answer import Answer
from mlflow_project.domain.release import Release
from mlflow_project.errors import ProviderError
from mlflow_project.rules.masking import Masker
from mlflow_project.telemetry import catalogue
from mlflow_project.telemetry.catalogue import RELEASE_SERVED, RELEASES_REFUSED, Metric
from mlflow_project.telemetry.meters import LlmCall, Meters, record_llm_call
from serving.worker import Worker

logger = logging.getLogger(__name__)

VITALS_SECONDS = 5.0


class ObserveSettings(BaseSettings):
    """`log_patterns` are a site's own kinds to mask: name -> regular expression, as JSON."""

    model_config = SettingsConfigDict(env_prefix="SWITCHYARD_", extra="ignore", env_ignore_empty=True)

    log_queries: bool = True
    log_texts: bool = False
    log_text_chars: int = Field(default=500, ge=1)
    mask_patterns: dict[str, str] = Field(default_factory=dict)


class Observer:
    """One for each worker."""

    def __init__(self, settings: ObserveSettings, meters: Meters) -> None:
        self._settings = settings
        self._meters = meters
        self._masker = Masker(settings.mask_patterns)
        if settings.log_queries:
            logger.setLevel(logging.INFO)

    def answered(self, request: Request, release: Release, variables: Mapping[str, str], answer: Answer) -> None:
        """A request that got its answer."""
        usage = {name: count for name, count in asdict(answer.usage).items() if count is not None}
        more = {"latency_ms": round(answer.latency_ms, 3), "refused": answer.refused, **usage}
        if self._settings.log_texts:
            more |= {"input": self._safe(" ".join(variables.values())), "output": self._safe(answer.text)}
        self._log(request, release, success=True, more=more)
        self._measure(request, release, usage=answer.usage, cost_usd=answer.cost_usd, text=answer.text)

    def failed(self, request: Request, release: Release, error: BaseException) -> None:
        """A request that got an error instead."""
        self._log(request, release, success=False, more={"error_type": type(error).__name__})
        self._measure(request, release, error_type=_error_type(error))

    def turned_away(self, status: int) -> None:
        """A request that met no route: the guard did not let it in."""
        self._meters.record(catalogue.TURNED_AWAY, 1, status=status)

    async def vitals(self, worker: Worker) -> None:
        """Until cancelled: what this worker serves and refuses, and how long ago the registry answered."""
        serving, refused = _Present(self._meters, RELEASE_SERVED), _Present(self._meters, RELEASES_REFUSED)
        while True:
            live = worker.shelf.live.values()
            serving.now({(one.placed.release.label, one.placed.alias) for one in live})
            refused.now({(one.name, one.alias) for one in worker.refused})
            if worker.contact is not None:
                self._meters.record(catalogue.REGISTRY_AGE, worker.contact.age_ms() / 1000)
            await asyncio.sleep(VITALS_SECONDS)

    def close(self) -> None:
        """Send what is left."""
        self._meters.close()

    def _log(self, request: Request, release: Release, *, success: bool, more: Mapping[str, object]) -> None:
        if self._settings.log_queries:
            fields = {"request_id": request.state.request_id, "route": request.scope["route"].path}
            fields |= {"release": release.label, "digest": release.digest, "success": success}
            logger.info("LLM Query", extra={**fields, **more})

    def _measure(self, request: Request, release: Release, **more: Any) -> None:
        provider = release.manifest.provider
        call = LlmCall(
            model_name=provider.model if provider is not None else release.name,
            endpoint=request.scope["route"].path,
            provider=provider.name if provider is not None else None,
            duration_ms=1000 * (time.perf_counter() - request.state.began),
            **more,
        )
        record_llm_call(self._meters, call)

    def _safe(self, text: str | None) -> str | None:
        return self._masker.record_safe(text, self._settings.log_text_chars)


class _Present:
    """A gauge that is 1 for what is there and 0 for what was: one that nobody sets keeps its last value for ever."""

    def __init__(self, meters: Meters, metric: Metric) -> None:
        self._meters = meters
        self._metric = metric
        self._before: set[tuple[str, ...]] = set()

    def now(self, there: set[tuple[str, ...]]) -> None:
        for values in there | self._before:
            labels = dict(zip(self._metric.labels, values, strict=True))
            self._meters.record(self._metric, int(values in there), **labels)
        self._before = there


def _error_type(error: BaseException) -> str:
    kind = error.kind if isinstance(error, ProviderError) else "other"
    return kind if kind in {"http_error", "timeout"} else "other"
