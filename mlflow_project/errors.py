"""Every error that Switchyard raises on purpose, with its exit code and its HTTP status.

The root is `WorkspaceError`. A message is written for a person: what went wrong, with which thing, why, and what to do.
An adapter translates a library's error once, with `from`. No other code catches a library's errors.
Exit codes: 0 done; 1 internal error; 2 wrong usage or input; 3 a service cannot be reached; 4 refused by a rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class WorkspaceError(Exception):
    """Root of all errors that are meant for a person.

    Attributes:
        exit_code: how a command ends.
        http_status: how the server answers.
        retry_after: the seconds of the header `Retry-After`; None: the response has none.
        report: what a job prints with `--json` although it failed; None: nothing.
    """

    exit_code: int = 1
    http_status: int = 500
    retry_after: float | None = None
    report: Mapping[str, Any] | None = None


class ConfigError(WorkspaceError):
    """A setting is missing or wrong. The message lists every mistake that was found."""

    exit_code = 2


class InvalidData(WorkspaceError):
    """Input does not have its format: a prompt file, a case, a manifest, a row, a request."""

    exit_code = 2
    http_status = 422


class IndexBroken(InvalidData):
    """The files of a search index do not match its digest."""


class NotFound(WorkspaceError):
    """A name, version, alias, table or file does not exist. Never raised for an outage."""

    exit_code = 2
    http_status = 404


class Unavailable(WorkspaceError):
    """A service (MLflow, MinIO, provider, server) did not answer, or answered with its own error. A retry may help."""

    exit_code = 3
    http_status = 503


class Exhausted(Unavailable):
    """A caller's rate limit or budget is used up. `retry_after` is in seconds."""

    http_status = 429

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Refused(WorkspaceError):
    """A rule forbids it: a rejected verdict, too many rejected rows, a protected name without approval."""

    exit_code = 4
    http_status = 403


class PromotionConflict(Refused):
    """Somebody else moved the same name first, or another champion is live than the one that the seal names."""


class LedgerRewritten(Refused):
    """The ledger lacks a record that this host has seen: it was cut, rewritten or replaced."""


class SealBroken(Refused):
    """A version has no valid seal, or its content no longer matches its seal."""


_STATUS_OF_KIND = {"timeout": 504, "circuit_open": 503, "busy": 503}


class ProviderError(Unavailable):
    """The LLM behind a prompt failed.

    `status` is the provider's HTTP status, or None when no response came (transport); `kind` is one of
    `http_error`, `timeout`, `transport`, `invalid_json`, `circuit_open`, `busy` (the endpoint's own limit of concurrent
    requests). The message carries no key, no header and no prompt. `retry_after` is in seconds, where the provider said
    so.
    """

    def __init__(self, message: str, *, kind: str, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status
        self.retry_after = retry_after
        self.http_status = 429 if status == 429 else _STATUS_OF_KIND.get(kind, 502)


class InvalidAnswer(WorkspaceError):
    """The provider's answer does not match the response schema of the release, or is too long."""

    exit_code = 3
    http_status = 502
