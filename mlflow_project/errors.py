"""Every error that Switchyard raises on purpose, with its exit code and its HTTP status.

One root, `WorkspaceError`. Each message is a sentence or more for a person: what, which, why, and what to do.
An adapter translates a library's error once, with `from`; nobody else catches a library's error.
Exit codes: 0 done; 1 internal error; 2 wrong usage or input; 3 a service cannot be reached; 4 refused by a rule.
"""

from __future__ import annotations


class WorkspaceError(Exception):
    """Root of all errors that are meant for a person. A command ends with `exit_code`; a server answers with
    `http_status`, and with `Retry-After` where `retry_after` (seconds) is set."""

    exit_code: int = 1
    http_status: int = 500
    retry_after: float | None = None


class ConfigError(WorkspaceError):
    """A setting is missing or wrong; the message lists every mistake that was found."""

    exit_code = 2


class InvalidData(WorkspaceError):
    """Input that breaks its own format: a prompt file, a case, a manifest, a row, a request."""

    exit_code = 2
    http_status = 422


class IndexBroken(InvalidData):
    """The files of a search index are not the files that its digest names."""


class NotFound(WorkspaceError):
    """A name, version, alias, table or file that does not exist. Never raised for an outage."""

    exit_code = 2
    http_status = 404


class Unavailable(WorkspaceError):
    """A part (MLflow, MinIO, provider, server) did not answer, or answered with an error of its own. Retryable."""

    exit_code = 3
    http_status = 503


class Exhausted(Unavailable):
    """A caller's rate limit or budget is used up; `retry_after` is in seconds."""

    http_status = 429

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Refused(WorkspaceError):
    """A rule says no: a rejected verdict, too many rejected rows, a protected name without approval."""

    exit_code = 4
    http_status = 403


class PromotionConflict(Refused):
    """Somebody else moved the same name first, or the champion is not the one that the seal was made against."""


class LedgerRewritten(Refused):
    """The ledger does not contain a record that this host has seen: it was cut, rewritten or replaced."""


class SealBroken(Refused):
    """A version without a valid seal, or one whose content no longer matches its seal."""


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
    """The provider answered, but not with what the release's response schema asks for."""

    exit_code = 3
    http_status = 502
