"""Settings of each component, read once at the start of a program and passed on. Importing a module reads none.

Sources, in order of precedence: the environment; `.env` in the working folder, which is yours; `<state>/stack.env`, in
which `make up` writes credentials and addresses of the local stack. `SWITCHYARD_STATE` names the state folder (default
`.switchyard`). Secrets are `SecretStr` and have no default.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError, create_model
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from mlflow_project.errors import ConfigError


def state_folder() -> Path:
    """The folder with this stack's state, logs and credentials."""
    return Path(os.environ.get("SWITCHYARD_STATE", ".switchyard")).absolute()


def own_file() -> Path:
    """The file of your own settings: `.env`, or the one that `SWITCHYARD_ENV_FILE` names."""
    return Path(os.environ.get("SWITCHYARD_ENV_FILE", ".env"))


def _check_web_address(text: str) -> str:
    """Check that a text is the address of a web server. The message repeats no part that may contain a password."""
    try:
        parts = urlsplit(text)
        well_formed = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        well_formed = False
    if well_formed and not re.search(r"\s", text):
        return text
    shown = "This" if "@" in text else repr(text.partition("?")[0])
    raise ValueError(
        f"{shown} is not a web address. Write http:// or https://, a host and, if needed, a port: "
        "for example http://127.0.0.1:5000."
    )


def _check_patterns(patterns: dict[str, str]) -> dict[str, str]:
    for name, pattern in patterns.items():
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"The pattern of {name!r} is not a regular expression: {error}.") from error
    return patterns


WebAddress = Annotated[str, AfterValidator(_check_web_address)]
"""The address of a web server, as text."""


class _Settings(BaseSettings):
    # A class is built when it is first used, not at import: most programs use only some of these.
    model_config = SettingsConfigDict(env_prefix="SWITCHYARD_", extra="ignore", env_ignore_empty=True, defer_build=True)


class StoreSettings(_Settings):
    """The object store (MinIO, or anything that speaks S3 with conditional PUT)."""

    s3_endpoint: WebAddress = "http://127.0.0.1:9000"
    s3_console: WebAddress = "http://127.0.0.1:9001"
    s3_region: str = "us-east-1"
    s3_access_key: SecretStr
    s3_secret_key: SecretStr
    raw_bucket: str = "raw-data-bucket"
    curated_bucket: str = "curated-data-bucket"
    models_bucket: str = "models-bucket"
    artifacts_bucket: str = "llm-artifacts-bucket"
    ledger_bucket: str = "ledger-bucket"
    coordination_bucket: str = "coordination-bucket"


class RegistrySettings(_Settings):
    """The MLflow server. `registry_timeout` is the time limit of each call, in seconds."""

    mlflow_uri: WebAddress = "http://127.0.0.1:5000"
    registry_timeout: float = Field(default=5.0, gt=0)


class EvaluationSettings(_Settings):
    """Whether an evaluation also logs traces and the `evaluate` library's metrics, which take seconds to import."""

    evaluation_extras: bool = True


class SealSettings(_Settings):
    """The file of the gate's signing key, which only the gate needs, and the folder of trusted public keys."""

    signing_key: Path = Field(default_factory=lambda: state_folder() / "keys" / "gate.pem")
    trusted_keys: Path = Field(default_factory=lambda: state_folder() / "keys" / "trusted")


class PromotionSettings(_Settings):
    """How long a flip waits for receipts, in seconds."""

    receipt_timeout: float = Field(default=10.0, gt=0, le=400)


class FollowerSettings(_Settings):
    """The follower, which watches registry and ledger.

    It asks MLflow every `poll_ms` milliseconds, and the ledger twice as often. `registry_file` is MLflow's database, if
    that is a SQLite file on this machine; `make up` sets it. Then the follower mostly checks the file's time stamp
    instead of asking MLflow. `serving_folder` contains snapshot and indexes.
    """

    poll_ms: int = Field(default=750, ge=5, le=60_000)
    registry_file: Path | None = None
    presence_ttl_ms: int = Field(default=5_000, ge=500, le=30_000)
    serving_folder: Path = Field(default_factory=lambda: state_folder() / "serving")
    host_name: str | None = None


class ServerSettings(_Settings):
    """The HTTP server.

    A worker whose event loop is stuck for `api_worker_silence` seconds is replaced; on a busy machine a worker takes
    seconds to start. At a stop, the server finishes its requests for up to `api_stop_seconds`. That is longer than a
    provider may take (120 s, unless a release pins another `total_seconds`), together with queue and body.
    """

    api_host: str = "127.0.0.1"
    api_port: int = Field(default=8000, ge=1, le=65535)
    api_workers: int = Field(default=1, ge=1)
    api_worker_silence: int = Field(default=20, ge=2)
    api_stop_seconds: int = Field(default=150, ge=1)
    default_prompt: str = "qa"
    webhook_secret: SecretStr | None = None
    resolve: Literal["snapshot", "strict"] = "snapshot"
    serving_folder: Path = Field(default_factory=lambda: state_folder() / "serving")


class ModelSettings(_Settings):
    """What a worker does for models. A model of more than `max_model_mb` megabytes, packed or unpacked, is not loaded,
    nor one that takes longer than `model_warm_seconds` to load and to predict its example. With `model_trial` another
    process does both first, so that a hostile file ends that process and not the worker. One request holds at most
    `max_rows` rows, and its body `max_rows_bytes`."""

    max_model_mb: int = Field(default=512, ge=1)
    model_warm_seconds: float = Field(default=30.0, gt=0)
    model_trial: bool = True
    max_rows: int = Field(default=100_000, ge=1)
    max_rows_bytes: int = Field(default=33_554_432, ge=1)


class EventSettings(_Settings):
    """The events that a host records of its live traffic, for drift and reviews.

    It records the share `event_share` of the requests, at most `events_per_second` per worker. Texts are masked and cut
    to `event_text_chars` characters, or left out. Of a request to a model it records up to `event_rows` rows. A request
    can get feedback for `event_days` days. The file on disk never takes more than `event_spool_mb`. The follower
    uploads it every `event_ship_ms` milliseconds.
    """

    event_share: float = Field(default=1.0, ge=0, le=1)
    events_per_second: int = Field(default=20, ge=1)
    event_texts: bool = True
    event_text_chars: int = Field(default=2000, ge=1)
    event_rows: int = Field(default=10, ge=0, le=10)
    event_days: float = Field(default=30.0, gt=0)
    event_spool_mb: int = Field(default=256, ge=1)
    event_ship_ms: int = Field(default=5_000, ge=100)


class GuardSettings(_Settings):
    """Limits of the server: bytes, characters and seconds of a request, places of a worker, limits of each caller."""

    max_body_bytes: int = Field(default=1_048_576, ge=1)
    body_seconds: float = Field(default=10.0, gt=0)
    max_concurrent: int = Field(default=256, ge=1)
    max_queued: int = Field(default=256, ge=0)
    queue_seconds: float = Field(default=2.0, gt=0)
    max_text_chars: int = Field(default=200_000, ge=1)
    max_output_chars: int = Field(default=1_000_000, ge=1)
    limit_requests: str = ""
    limit_tokens: str = ""
    limit_usd: str = ""
    reserve_tokens: int = Field(default=1_024, ge=0)

    @property
    def limits(self) -> dict[str, str]:
        """The limits by kind, in the form that `allowances` reads. A kind without a limit is left out."""
        found = {"requests": self.limit_requests, "tokens": self.limit_tokens, "usd": self.limit_usd}
        return {kind: text for kind, text in found.items() if text}


class KeySettings(_Settings):
    """The file with the hashes of the callers' API keys."""

    api_keys_file: Path = Field(default_factory=lambda: state_folder() / "keys" / "api-keys.json")


class ClientSettings(_Settings):
    """How the command line reaches the server. A DAG sets `airflow_person` for a command that a person approved in
    Airflow; records then name that person.
    """

    api_url: WebAddress = "http://127.0.0.1:8000"
    api_key: SecretStr | None = None
    airflow_person: str | None = Field(default=None, max_length=200)


class LineageSettings(_Settings):
    """The OpenLineage run that started a command, and the root of all, each as `<namespace>/<job>/<run id>`.

    The DAGs set them to Airflow's own, so that events of Airflow and of Switchyard are one graph.
    """

    parent_run: str | None = Field(default=None, max_length=1_000)
    root_run: str | None = Field(default=None, max_length=1_000)

    def started_by(self) -> dict[str, str]:
        """The two that are set, as `parent` and `root`."""
        named = {"parent": self.parent_run, "root": self.root_run}
        return {name: run for name, run in named.items() if run is not None}


class CatalogSettings(_Settings):
    """The OpenMetadata server that `switchyard catalog` keeps up to date: the address of its API, such as
    http://127.0.0.1:8585/api, and the token of a bot."""

    openmetadata_url: WebAddress | None = None
    openmetadata_token: SecretStr | None = None


class ProviderSettings(BaseSettings):
    """The outside language models. `llm_api_url` and `llm_api_key` are the endpoint `default`; `providers_file` names a
    YAML file with more endpoints. Without a key, prompts whose provider is `extractive` still answer."""

    model_config = SettingsConfigDict(extra="ignore", env_ignore_empty=True)

    llm_api_url: WebAddress = "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.0-flash:generateContent"
    llm_api_key: SecretStr | None = None
    providers_file: Path | None = Field(default=None, validation_alias="SWITCHYARD_PROVIDERS")


class KafkaSettings(_Settings):
    """The Kafka cluster, for the ingestion service, the commands and the Spark job.

    `kafka_brokers` is a list of `host:port`, with commas. With SASL, `kafka_user` and `kafka_password` sign in; with
    TLS, `kafka_ca_file` names the certificates that are trusted (PEM; default: those of the system).
    """

    kafka_brokers: str = Field(default="127.0.0.1:9092", min_length=1)
    kafka_security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    kafka_user: str | None = None
    kafka_password: SecretStr | None = None
    kafka_ca_file: Path | None = None
    schemas_folder: Path = Field(
        default=Path(__file__).resolve().parents[1] / "schemas", validation_alias="SWITCHYARD_SCHEMAS"
    )


class IngestionSettings(_Settings):
    """The HTTP service in front of Kafka.

    A record that Kafka has not confirmed after `ingest_kafka_seconds` goes to the spool, a file in `ingest_folder` of
    at most `ingest_spool_mb`. At most `ingest_pending_mb` of records wait for Kafka at once. One record has at most
    `ingest_record_bytes`. An id that comes again among the last `ingest_known_ids` is recognised without Kafka.
    """

    ingest_host: str = "127.0.0.1"
    ingest_port: int = Field(default=8002, ge=1, le=65535)
    ingest_url: WebAddress = "http://127.0.0.1:8002"
    ingest_folder: Path = Field(default_factory=lambda: state_folder() / "ingestion")
    ingest_kafka_seconds: float = Field(default=5.0, gt=0)
    ingest_spool_mb: int = Field(default=512, ge=1)
    ingest_pending_mb: int = Field(default=32, ge=1)
    ingest_record_bytes: int = Field(default=1_048_576, ge=1, le=1_900_000)
    ingest_known_ids: int = Field(default=100_000, ge=0)


class ConsoleSettings(_Settings):
    """The web console.

    `console_url` is where people find it. `console_hosts` are further names by which it may be asked, with commas: a
    proxy in front of it passes its own. A session ends after `console_session_minutes`. `prometheus_url` is where the
    page Traffic gets its curves; `make observe` sets it.
    """

    console_host: str = "127.0.0.1"
    console_port: int = Field(default=8001, ge=1, le=65535)
    console_url: WebAddress = "http://127.0.0.1:8001"
    console_hosts: str = ""
    console_session_minutes: int = Field(default=480, ge=1)
    prometheus_url: WebAddress | None = None


class TelemetrySettings(_Settings):
    """Where metrics and traces go.

    `OTEL_EXPORTER_OTLP_ENDPOINT` names a collector (OTLP over HTTP), `trace_experiment` the id of an MLflow experiment.
    Shares are 0 to 1. `trace_texts` adds question and answer to traces, masked and shortened.
    """

    otlp_endpoint: WebAddress | None = Field(default=None, validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT")
    telemetry_interval_ms: int = Field(default=5_000, ge=100)
    trace_share: float = Field(default=0.05, ge=0, le=1)
    trace_slow_ms: float = Field(default=2_000, gt=0)
    trace_texts: bool = False
    trace_experiment: str | None = None
    quality_share: float = Field(default=0.05, ge=0, le=1)


class LogSettings(_Settings):
    """What the server logs of each question. `mask_patterns` are the site's own kinds of data to mask, as JSON: name ->
    regular expression.
    """

    log_queries: bool = True
    log_texts: bool = False
    log_text_chars: int = Field(default=500, ge=1)
    mask_patterns: Annotated[dict[str, str], AfterValidator(_check_patterns)] = Field(default_factory=dict)


ALL_SETTINGS: tuple[type[BaseSettings], ...] = (
    StoreSettings,
    RegistrySettings,
    EvaluationSettings,
    SealSettings,
    PromotionSettings,
    FollowerSettings,
    ServerSettings,
    ModelSettings,
    EventSettings,
    GuardSettings,
    KeySettings,
    LineageSettings,
    CatalogSettings,
    ClientSettings,
    ProviderSettings,
    KafkaSettings,
    IngestionSettings,
    ConsoleSettings,
    TelemetrySettings,
    LogSettings,
)

S = TypeVar("S", bound=BaseSettings)

MISSING = "is missing"
"""How a message describes a setting without a value."""
_WRONG = "Settings are missing or wrong (set them in the environment or in .env; `make up` writes the local stack's):"


def load(kind: type[S], *, from_file: Path | None = None, **overrides: Any) -> S:
    """Read one component's settings.

    Args:
        from_file: one more file of lines `NAME=value`, which `.env` overrides.

    Raises:
        ConfigError: settings are missing or wrong, and the message lists them; or a file cannot be read.
    """
    try:
        files = [state_folder() / "stack.env", *([from_file] if from_file else []), own_file()]
        return kind(_env_file=files, **overrides)
    except ValidationError as error:
        lines = [f"{_variable(kind, mistake['loc'])}: {what_is_wrong(mistake)}" for mistake in error.errors()]
        raise ConfigError("\n  ".join([_WRONG, *lines])) from error
    except SettingsError as error:
        field = str(error).split('"')[1]  # only the library's message names the field, in quotes
        example = 'must be JSON, as in {"name": "text"}'
        raise ConfigError(f"{_WRONG}\n  {_variable(kind, (field,))}: {example}") from error
    except OSError as error:
        raise ConfigError(
            f"The settings file {error.filename} cannot be read ({error.strerror}): make it yours and readable again."
        ) from error


def secret_setting(name: str) -> SecretStr | None:
    """A secret under a name that a person chose, from the same three places as every setting; None: it is not set."""
    fields: Any = {"value": (SecretStr | None, Field(default=None, validation_alias=name))}
    found: Any = load(create_model("SecretSetting", __base__=_Settings, **fields))
    value: SecretStr | None = found.value
    return value


def check_all(*more: type[BaseSettings]) -> list[str]:
    """Return every mistake in every component's settings, and in those of `more`, one line each."""
    found: list[str] = []
    for kind in (*ALL_SETTINGS, *more):
        try:
            load(kind)
        except ConfigError as error:
            found += [line for line in str(error).splitlines()[1:] if line not in found]
    return found


def _variable(kind: type[BaseSettings], path: tuple[int | str, ...]) -> str:
    """The environment variable of a field. For a field with an alias, pydantic names the variable itself."""
    name = ".".join(str(part) for part in path)
    return name if name.isupper() else f"{kind.model_config.get('env_prefix', '')}{name}".upper()


def what_is_wrong(mistake: ErrorDetails) -> str:
    """What is wrong with one value. The message does not repeat the value, which may be a secret."""
    if mistake["type"] == "missing":
        return MISSING
    return mistake["msg"].removeprefix("Value error, ").split(", unable")[0].replace("Input should be", "must be")
