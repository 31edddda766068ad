"""Every metric that Switchyard emits: name, kind, unit, labels. `docs/operations/metrics.md` lists them, and a test
compares.

Names are OTel's with dots; Prometheus shows underscores and adds nothing (UnderscoreEscapingWithoutSuffixes).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LLM_LABELS = ("model_name", "endpoint", "success", "error_type")
LATENCY_MS = (5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0)
TOKENS = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0)


@dataclass(frozen=True)
class Metric:
    """One metric. `labels` are the only ones it takes; `boundaries` are those of a histogram."""

    name: str
    kind: Literal["histogram", "counter", "gauge"]
    unit: str
    description: str
    labels: tuple[str, ...] = ()
    boundaries: tuple[float, ...] = ()


LLM_DURATION = Metric(
    "llm.request.duration", "histogram", "ms", "A request from its arrival to its last byte", LLM_LABELS, LATENCY_MS
)
LLM_INPUT_TOKENS = Metric("llm.input.tokens_total", "counter", "token", "Tokens sent to the provider", LLM_LABELS)
LLM_OUTPUT_TOKENS = Metric("llm.output.tokens_total", "counter", "token", "Tokens the provider wrote", LLM_LABELS)
LLM_THOUGHT_TOKENS = Metric("llm.thought.tokens_total", "counter", "token", "Tokens the provider thought", LLM_LABELS)
LLM_CACHED_TOKENS = Metric("llm.cached.tokens_total", "counter", "token", "Input tokens from a cache", LLM_LABELS)
LLM_COST = Metric(
    "llm.estimated.cost_usd", "counter", "USD", "Cost by the price table that the release pins", LLM_LABELS
)
LLM_ERRORS = Metric("llm.api.errors_total", "counter", "error", "Requests that failed at the provider", LLM_LABELS)
LLM_LENGTH = Metric("llm.response.length_chars", "histogram", "char", "Length of an answer", LLM_LABELS, TOKENS)
LLM_KEYWORDS = Metric(
    "llm.response.keywords_count", "histogram", "word", "Distinct words of an answer", LLM_LABELS, TOKENS
)
GEN_AI_TOKENS = Metric(
    "gen_ai.client.token.usage",
    "histogram",
    "token",
    "OpenTelemetry's GenAI convention: tokens of a call, by type",
    ("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "gen_ai.token.type"),
    TOKENS,
)
RELEASE_SERVED = Metric(
    "switchyard.release.serving", "gauge", "1", "1 for what a worker serves, 0 after it", ("release", "alias")
)
RELEASES_REFUSED = Metric(
    "switchyard.releases.refused", "gauge", "1", "1 while an alias asks for what is not served", ("name", "alias")
)
REGISTRY_AGE = Metric("switchyard.registry.age_seconds", "gauge", "s", "Since the registry last answered")
TURNED_AWAY = Metric(
    "switchyard.requests.turned_away_total", "counter", "request", "Requests that met no route", ("status",)
)

CATALOGUE: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
