"""Every metric that Switchyard emits: name, kind, unit, labels. A test compares this list with `docs/guide/metrics.md`.

Names have dots, as OpenTelemetry's do. Prometheus shows them with underscores and adds no suffix (its translation
strategy is UnderscoreEscapingWithoutSuffixes).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LLM_LABELS = ("model_name", "endpoint", "success", "error_type")
LATENCY_MS = (5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0)
GEN_AI_SECONDS = tuple(round(0.01 * 2**power, 2) for power in range(14))
"""The boundaries of OpenTelemetry's GenAI conventions: 0.01 s to 81.92 s."""
SHARES = tuple(tenth / 10 for tenth in range(1, 11))
_GEN_AI = ("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model")
_BY_ARM = ("release", "arm")
"""Labels of what is measured by release: `arm` is production, canary or baseline."""
INGEST_SECONDS = (0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 30.0, 60.0, 300.0, 900.0)
TOKENS = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0)


@dataclass(frozen=True, eq=False)
class Metric:
    """One metric. `labels` are the only labels that it takes. `boundaries` are those of a histogram."""

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
LLM_THOUGHT_TOKENS = Metric(
    "llm.thought.tokens_total", "counter", "token", "Tokens of the provider's reasoning", LLM_LABELS
)
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
    (*_GEN_AI, "gen_ai.token.type"),
    TOKENS,
)
GEN_AI_DURATION = Metric(
    "gen_ai.client.operation.duration",
    "histogram",
    "s",
    "OpenTelemetry's GenAI convention: the provider's time, all tries together",
    (*_GEN_AI, "error.type"),
    GEN_AI_SECONDS,
)
GEN_AI_FIRST_TOKEN = Metric(
    "gen_ai.server.time_to_first_token",
    "histogram",
    "s",
    "OpenTelemetry's GenAI convention: from a request's arrival to the first piece of a stream",
    _GEN_AI,
    GEN_AI_SECONDS,
)
ANSWER_DURATION = Metric(
    "switchyard.answer.duration", "histogram", "ms", "A request, by release", ("release", "arm", "success"), LATENCY_MS
)
ANSWER_COST = Metric("switchyard.answer.cost_usd", "counter", "USD", "Cost by release", _BY_ARM)
ANSWERS_REFUSED = Metric(
    "switchyard.answers.refused_total", "counter", "answer", "Answers that say they do not know", _BY_ARM
)
ANSWER_QUALITY = Metric(
    "switchyard.answer.quality",
    "histogram",
    "1",
    "Scores of a sample of live answers: groundedness, relevance, coherence, toxicity",
    (*_BY_ARM, "score"),
    SHARES,
)
SHADOW_REQUESTS = Metric(
    "switchyard.shadow.requests_total",
    "counter",
    "request",
    "Copies of requests for a shadow: answered, failed, dropped, over_limit",
    ("release", "outcome"),
)
SHADOW_DURATION = Metric(
    "switchyard.shadow.duration", "histogram", "ms", "A shadow's answer or failure", ("release",), LATENCY_MS
)
SHADOW_COST = Metric("switchyard.shadow.cost_usd", "counter", "USD", "Cost of a shadow's answers", ("release",))
RETRIEVAL_DURATION = Metric(
    "switchyard.retrieval.duration", "histogram", "ms", "Searching the knowledge base", _BY_ARM, LATENCY_MS
)
RETRIEVAL_EMPTY = Metric(
    "switchyard.retrieval.empty_total", "counter", "request", "Searches that found nothing", _BY_ARM
)
RETRIEVAL_WORDS_ONLY = Metric(
    "switchyard.retrieval.words_only_total",
    "counter",
    "request",
    "Searches by words alone, because the endpoint that embeds questions failed",
    _BY_ARM,
)
RELEASE_SERVED = Metric(
    "switchyard.release.serving",
    "gauge",
    "1",
    "1 while a worker serves the release, 0 afterwards",
    ("release", "alias"),
)
RELEASES_REFUSED = Metric(
    "switchyard.releases.refused",
    "gauge",
    "1",
    "1 while an alias names a release that is not served",
    ("release", "alias", "reason"),
)
REGISTRY_AGE = Metric("switchyard.registry.age_seconds", "gauge", "s", "Since the registry last answered")
FLIP_DURATION = Metric(
    "switchyard.flip.duration",
    "histogram",
    "ms",
    "A promotion or rollback, from the command to the last receipt",
    ("release", "how", "outcome"),
    LATENCY_MS,
)
FLIP_OPEN = Metric(
    "switchyard.flip.open_seconds", "gauge", "s", "Seconds since an open flip began; 0: none is open", ("name",)
)
SEAL_CHECKS = Metric(
    "switchyard.seal.checks_total",
    "counter",
    "check",
    "Seals checked: holds, broken",
    ("release", "outcome"),
)
VERDICTS = Metric("switchyard.verdicts_total", "counter", "verdict", "Decisions of the gate", ("release", "outcome"))
QUEUE_WAITING = Metric("switchyard.queue.waiting", "gauge", "request", "Requests that wait for a place")
QUEUE_ANSWERING = Metric("switchyard.queue.answering", "gauge", "request", "Requests that have a place")
TURNED_AWAY = Metric(
    "switchyard.requests.turned_away_total",
    "counter",
    "request",
    "Requests that were refused before a route",
    ("status",),
)
RESPONSES = Metric(
    "switchyard.http.responses_total", "counter", "response", "Every response, by route and status", ("route", "status")
)
BUDGET_USED = Metric(
    "switchyard.budget.used_total", "counter", "1", "Tokens and dollars used, by key", ("caller", "kind")
)
BUDGET_REFUSED = Metric(
    "switchyard.budget.refused_total", "counter", "request", "Requests beyond a limit, by key", ("caller", "kind")
)
MASKED = Metric("switchyard.masked_total", "counter", "item", "Personal data and secrets masked, by kind", ("kind",))
DROPPED = Metric(
    "switchyard.telemetry.dropped_total",
    "counter",
    "item",
    "Items dropped because a queue was full or a backend did not answer",
    ("signal",),
)
QUARANTINE_SHARE = Metric(
    "switchyard.quarantine.share", "gauge", "1", "Share of the newest run's records that were rejected", ("table",)
)
PREPARED = Metric(
    "switchyard.prepared.records", "gauge", "record", "Records of the newest run, by outcome", ("table", "outcome")
)
FEEDBACK = Metric(
    "switchyard.feedback.received_total", "counter", "judgement", "Judgements of answers, new or changed", _BY_ARM
)
DRIFT_SCORE = Metric(
    "switchyard.drift.score",
    "gauge",
    "1",
    "A drift statistic divided by its threshold: 1 and more is drift",
    ("name", "kind", "measure"),
)
DRIFT_ALARM = Metric(
    "switchyard.drift.alarm",
    "gauge",
    "1",
    "1 where the newest window drifted, by kind",
    ("name", "kind"),
)
DRIFT_CLUSTER_SHARE = Metric(
    "switchyard.drift.cluster_share", "gauge", "1", "Share of the newest questions in a cluster", ("name", "cluster")
)
INGESTED = Metric(
    "switchyard.ingest.records_total",
    "counter",
    "record",
    "Records that came over HTTP: accepted, spooled, duplicate, refused",
    ("topic", "outcome", "status"),
)
INGEST_SPOOL = Metric("switchyard.ingest.spool_bytes", "gauge", "By", "Bytes of records that wait on disk for Kafka")
INGEST_PENDING = Metric(
    "switchyard.ingest.pending_bytes", "gauge", "By", "Bytes of records that wait for Kafka's confirmation"
)
INGEST_WRITTEN = Metric(
    "switchyard.ingest.written_total",
    "counter",
    "record",
    "Records from Kafka: written to the table, duplicate, dead_letter",
    ("topic", "outcome"),
)
INGEST_LAG = Metric(
    "switchyard.ingest.lag",
    "gauge",
    "record",
    "Records of a partition that are not in the table yet",
    ("topic", "partition"),
)
INGEST_DELAY = Metric(
    "switchyard.ingest.delay",
    "histogram",
    "s",
    "From the acceptance of a record to its commit in the table",
    ("topic",),
    INGEST_SECONDS,
)
DEAD_LETTERS = Metric(
    "switchyard.ingest.dead_letters_total", "counter", "record", "Dead letters, by reason", ("topic", "reason")
)

GUARD_STATE = Metric(
    "switchyard.guard.state",
    "gauge",
    "1",
    "1 for what the guard says of a name that it watches: `harm`, `clear`, `inconclusive`, `old_release_fails`, "
    "`broken_split` or `stuck`",
    ("name", "state"),
)
GUARD_SHARE = Metric(
    "switchyard.guard.share",
    "gauge",
    "1",
    "Share of requests that an indicator of the guard counts: of the release (`new`), and of what it is compared with "
    "(`before`)",
    ("release", "indicator", "side"),
)
GUARD_ACTIONS = Metric(
    "switchyard.guard.actions_total",
    "counter",
    "action",
    "Steps, holds, aborts and rollbacks of the guard",
    ("release", "action"),
)
GUARD_LOOKED = Metric(
    "switchyard.guard.looked_at_seconds", "gauge", "s", "When the guard last looked, in seconds since 1970"
)

CATALOGUE: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
