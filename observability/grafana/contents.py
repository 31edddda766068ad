"""What the six dashboards show: their panels' titles, units and PromQL. `generate.py` makes Grafana's JSON of it.

What only commands and jobs send (flips, verdicts, quarantine, drift) comes once and from a new process each time: such
expressions look back over a day.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shown:
    """One panel. `series`: PromQL -> legend; `unit`: Grafana's name of it; `about`: what to look for."""

    title: str
    unit: str
    series: dict[str, str]
    about: str = ""


@dataclass(frozen=True)
class Board:
    """One dashboard. `flips`: with each flip as an annotation."""

    uid: str
    title: str
    about: str
    panels: tuple[Shown, ...]
    flips: bool = False


FLIPS = """
max by (release, alias) (switchyard_release_serving{alias="Production"} == 1)
unless max by (release, alias) (switchyard_release_serving{alias="Production"} offset 1m == 1)
""".strip().replace("\n", " ")
"""The releases that serve now and did not a minute ago."""


MODEL = "$model_name"
"""The model that a reader chooses in the dashboard's variable of this name."""


def _slowest(metric: str, share: str, by: str) -> str:
    return f"histogram_quantile({share}, sum by (le, {by}) (rate({metric}_bucket[5m])))"


def _mean(metric: str, by: str, window: str = "1h") -> str:
    return f"sum by ({by}) (rate({metric}_sum[{window}])) / sum by ({by}) (rate({metric}_count[{window}]))"


def _rate(metric: str, by: str, window: str = "5m") -> str:
    return f"sum by ({by}) (rate({metric}[{window}]))"


def _last(metric: str, by: str) -> str:
    return f"max by ({by}) (last_over_time({metric}[1d]))"


REQUESTS = Board(
    "switchyard-requests",
    "Requests",
    "Are answers fast, and do they come?",
    (
        Shown(
            "Responses", "reqps", {_rate("switchyard_http_responses_total", "route, status"): "{{route}} {{status}}"}
        ),
        Shown("Requests by model", "reqps", {"switchyard:request_rate:1m": "{{model_name}} {{endpoint}}"}),
        Shown(
            "Duration",
            "ms",
            {
                _slowest("llm_request_duration", "0.5", "model_name"): "{{model_name}} p50",
                "histogram_quantile(0.99, sum by(le, model_name) (rate(llm_request_duration_bucket[1m])))": (
                    "{{model_name}} p99"
                ),
            },
        ),
        Shown(
            "Failures",
            "reqps",
            {_rate("llm_api_errors_total", "model_name, error_type"): "{{model_name}} {{error_type}}"},
        ),
        Shown(
            "Requests and failures of one model",
            "reqps",
            {
                f'rate(llm_request_duration_count{{model_name="{MODEL}"}}[1m])': "{{endpoint}} {{error_type}} requests",
                f'rate(llm_api_errors_total{{model_name="{MODEL}"}}[5m])': "{{endpoint}} {{error_type}} failures",
            },
        ),
        Shown("Share that fails", "percentunit", {"switchyard:error_share:5m": "{{model_name}}"}),
        Shown(
            "The provider's own time, p99",
            "s",
            {_slowest("gen_ai_client_operation_duration", "0.99", "gen_ai_request_model"): "{{gen_ai_request_model}}"},
        ),
        Shown(
            "Time to the first token, p99",
            "s",
            {_slowest("gen_ai_server_time_to_first_token", "0.99", "gen_ai_request_model"): "{{gen_ai_request_model}}"},
        ),
        Shown(
            "Places and queue",
            "short",
            {
                "sum by (instance) (switchyard_queue_answering)": "{{instance}} answering",
                "sum by (instance) (switchyard_queue_waiting)": "{{instance}} waiting",
            },
        ),
        Shown("Turned away", "reqps", {_rate("switchyard_requests_turned_away_total", "status"): "{{status}}"}),
        Shown(
            "Since the registry answered", "s", {"max by (instance) (switchyard_registry_age_seconds)": "{{instance}}"}
        ),
        Shown(
            "Telemetry dropped",
            "short",
            {"sum by (signal) (increase(switchyard_telemetry_dropped_total[1h]))": "{{signal}}"},
        ),
    ),
)

COST = Board(
    "switchyard-cost",
    "Cost and tokens",
    "What do answers cost, and why?",
    (
        Shown("USD in the last hour", "currencyUSD", {"switchyard:cost_usd:1h": "{{model_name}}"}),
        Shown(
            "USD per thousand answers",
            "currencyUSD",
            {
                "1000 * sum by (model_name) (rate(llm_estimated_cost_usd[1h]))"
                " / sum by (model_name) (rate(llm_request_duration_count[1h]))": "{{model_name}}"
            },
        ),
        Shown(
            "Tokens a second",
            "short",
            {
                _rate("llm_input_tokens_total", "model_name"): "{{model_name}} in",
                _rate("llm_output_tokens_total", "model_name"): "{{model_name}} out",
                _rate("llm_thought_tokens_total", "model_name"): "{{model_name}} thought",
                _rate("llm_cached_tokens_total", "model_name"): "{{model_name}} cached",
            },
        ),
        Shown(
            "Tokens of one model so far",
            "short",
            {
                f'llm_input_tokens_total{{model_name="{MODEL}"}}': "{{endpoint}} in",
                f'llm_output_tokens_total{{model_name="{MODEL}"}}': "{{endpoint}} out",
            },
        ),
        Shown(
            "Tokens of a call, p95",
            "short",
            {
                "histogram_quantile(0.95, sum by (le, gen_ai_request_model, gen_ai_token_type) "
                "(rate(gen_ai_client_token_usage_bucket[5m])))": "{{gen_ai_request_model}} {{gen_ai_token_type}}"
            },
        ),
        Shown(
            "Used by key", "short", {_rate("switchyard_budget_used_total", "caller, kind", "1h"): "{{caller}} {{kind}}"}
        ),
        Shown(
            "Refused by a limit",
            "reqps",
            {_rate("switchyard_budget_refused_total", "caller, kind"): "{{caller}} {{kind}}"},
        ),
        Shown("Cost by endpoint", "currencyUSD", {_rate("llm_estimated_cost_usd", "endpoint", "1h"): "{{endpoint}}"}),
    ),
)

RELEASES = Board(
    "switchyard-releases",
    "Releases",
    "What changed when a flip moved the traffic? Every panel by release.",
    (
        Shown(
            "Workers that serve it",
            "short",
            {"sum by (release, alias) (switchyard_release_serving)": "{{release}} {{alias}}"},
        ),
        Shown("Answers", "reqps", {_rate("switchyard_answer_duration_count", "release"): "{{release}}"}),
        Shown("Duration, p99", "ms", {_slowest("switchyard_answer_duration", "0.99", "release"): "{{release}}"}),
        Shown(
            "Share that fails",
            "percentunit",
            {
                'sum by (release) (rate(switchyard_answer_duration_count{success="false"}[5m]))'
                " / sum by (release) (rate(switchyard_answer_duration_count[5m]))": "{{release}}"
            },
        ),
        Shown(
            "Cost an hour",
            "currencyUSD",
            {"sum by (release) (increase(switchyard_answer_cost_usd[1h]))": "{{release}}"},
        ),
        Shown("Does not know", "reqps", {_rate("switchyard_answers_refused_total", "release"): "{{release}}"}),
        Shown(
            "Groundedness",
            "percentunit",
            {
                'sum by (release) (rate(switchyard_answer_quality_sum{score="groundedness"}[1h]))'
                ' / sum by (release) (rate(switchyard_answer_quality_count{score="groundedness"}[1h]))': "{{release}}"
            },
        ),
        Shown("Retrieval, p99", "ms", {_slowest("switchyard_retrieval_duration", "0.99", "release"): "{{release}}"}),
        Shown(
            "Flips, slowest of the day",
            "ms",
            {
                "max by (release, how, outcome) (last_over_time(switchyard_flip_duration_sum[1d])"
                " / last_over_time(switchyard_flip_duration_count[1d]))": "{{release}} {{how}} {{outcome}}"
            },
        ),
        Shown(
            "Refused",
            "short",
            {"max by (release, alias, reason) (switchyard_releases_refused)": "{{release}} {{alias}} {{reason}}"},
        ),
        Shown(
            "Verdicts of the day",
            "short",
            {_last("switchyard_verdicts_total", "release, outcome"): "{{release}} {{outcome}}"},
        ),
        Shown(
            "Guard: what it says",
            "short",
            {"max by (name, state) (switchyard_guard_state) == 1": "{{name}} {{state}}"},
        ),
        Shown(
            "Guard: what it counts, and before",
            "percentunit",
            {
                "max by (release, indicator, side) (switchyard_guard_share)": "{{release}} {{indicator}} {{side}}",
            },
        ),
        Shown(
            "Guard: what it did in the day",
            "short",
            {_last("switchyard_guard_actions_total", "release, action"): "{{release}} {{action}}"},
        ),
        Shown(
            "Guard: seconds since it looked",
            "s",
            {"time() - max(last_over_time(switchyard_guard_looked_at_seconds[1d]))": "guard"},
        ),
        Shown(
            "Seals checked",
            "short",
            {"sum by (release, outcome) (switchyard_seal_checks_total)": "{{release}} {{outcome}}"},
        ),
    ),
    flips=True,
)

QUALITY = Board(
    "switchyard-quality",
    "Quality and drift",
    "Are answers right and safe, and do questions change? Scores are proxies, on a sample of live answers.",
    (
        Shown(
            "Mean scores",
            "percentunit",
            {_mean("switchyard_answer_quality", "release, score"): "{{release}} {{score}}"},
        ),
        Shown(
            "Hallucination (1 - groundedness)",
            "percentunit",
            {
                '1 - sum(rate(switchyard_answer_quality_sum{score="groundedness"}[1h]))'
                ' / sum(rate(switchyard_answer_quality_count{score="groundedness"}[1h]))': "all releases"
            },
        ),
        Shown("Length of answers", "short", {_mean("llm_response_length_chars", "model_name"): "{{model_name}}"}),
        Shown(
            "Distinct words of answers", "short", {_mean("llm_response_keywords_count", "model_name"): "{{model_name}}"}
        ),
        Shown(
            "Searches that found nothing",
            "reqps",
            {
                _rate("switchyard_retrieval_empty_total", "release"): "{{release}}",
                _rate("switchyard_retrieval_words_only_total", "release"): "{{release}}: words only",
            },
        ),
        Shown("Judgements", "reqps", {_rate("switchyard_feedback_received_total", "release", "1h"): "{{release}}"}),
        Shown("Masked, by kind", "short", {_rate("switchyard_masked_total", "kind"): "{{kind}}"}),
        Shown(
            "Drift: statistic over its threshold",
            "short",
            {_last("switchyard_drift_score", "name, kind, measure"): "{{name}} {{kind}} {{measure}}"},
        ),
        Shown("Drift: alarms", "short", {_last("switchyard_drift_alarm", "name, kind"): "{{name}} {{kind}}"}),
        Shown(
            "Cluster shares of the embeddings",
            "percentunit",
            {_last("switchyard_drift_cluster_share", "name, cluster"): "{{name}} {{cluster}}"},
        ),
    ),
    flips=True,
)

PREPARATION = Board(
    "switchyard-preparation",
    "Data preparation",
    "Did the newest documents arrive, and how many were rejected? Every panel by table.",
    (
        Shown("Quarantine share", "percentunit", {_last("switchyard_quarantine_share", "table"): "{{table}}"}),
        Shown(
            "Records of the newest run",
            "short",
            {_last("switchyard_prepared_records", "table, outcome"): "{{table}} {{outcome}}"},
        ),
        Shown(
            "Runs of the day",
            "short",
            {"count by (table) (last_over_time(switchyard_quarantine_share[1d]))": "{{table}}"},
        ),
    ),
)

INGESTION = Board(
    "switchyard-ingestion",
    "Ingestion",
    "Do records arrive, how far are the tables behind Kafka, and what is broken?",
    (
        Shown(
            "Records over HTTP",
            "reqps",
            {_rate("switchyard_ingest_records_total", "topic, outcome"): "{{topic}} {{outcome}}"},
            "Accepted, spooled, duplicate, refused.",
        ),
        Shown("Spool", "bytes", {"sum(switchyard_ingest_spool_bytes)": "waits on disk"}),
        Shown("Waits for Kafka", "bytes", {"sum(switchyard_ingest_pending_bytes)": "in memory"}),
        Shown(
            "Lag by partition",
            "short",
            {_last("switchyard_ingest_lag", "topic, partition"): "{{topic}} {{partition}}"},
            "Records that are not in the table. It must fall to 0 again.",
        ),
        Shown(
            "From accepted to queryable, p99",
            "s",
            {_slowest("switchyard_ingest_delay", "0.99", "topic"): "{{topic}}"},
            "The slowest record of each commit.",
        ),
        Shown(
            "Records from Kafka",
            "reqps",
            {_rate("switchyard_ingest_written_total", "topic, outcome"): "{{topic}} {{outcome}}"},
        ),
        Shown(
            "Dead letters",
            "reqps",
            {_rate("switchyard_ingest_dead_letters_total", "topic, reason"): "{{topic}} {{reason}}"},
        ),
    ),
)

BOARDS = (REQUESTS, COST, RELEASES, QUALITY, PREPARATION, INGESTION)
