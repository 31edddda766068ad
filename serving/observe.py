"""What is said about each answered request: one log event, `LLM Query`.

Texts are left out unless `SWITCHYARD_LOG_TEXTS` asks for them, and then they are masked and cut. When masking breaks,
no text is logged.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict

from fastapi import Request
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from mlflow_project.domain.answer import Answer
from mlflow_project.domain.release import Release
from mlflow_project.rules.masking import Masker

logger = logging.getLogger(__name__)


class ObserveSettings(BaseSettings):
    """`log_patterns` are a site's own kinds to mask: name -> regular expression, as JSON."""

    model_config = SettingsConfigDict(env_prefix="SWITCHYARD_", extra="ignore", env_ignore_empty=True)

    log_queries: bool = True
    log_texts: bool = False
    log_text_chars: int = Field(default=500, ge=1)
    mask_patterns: dict[str, str] = Field(default_factory=dict)


class Observer:
    """One for each worker."""

    def __init__(self, settings: ObserveSettings) -> None:
        self._settings = settings
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

    def failed(self, request: Request, release: Release, error: BaseException) -> None:
        """A request that got an error instead."""
        self._log(request, release, success=False, more={"error_type": type(error).__name__})

    def _log(self, request: Request, release: Release, *, success: bool, more: Mapping[str, object]) -> None:
        if self._settings.log_queries:
            fields = {"request_id": request.state.request_id, "route": request.scope["route"].path}
            fields |= {"release": release.label, "digest": release.digest, "success": success}
            logger.info("LLM Query", extra={**fields, **more})

    def _safe(self, text: str | None) -> str | None:
        return self._masker.record_safe(text, self._settings.log_text_chars)
