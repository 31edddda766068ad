"""Records the gate's verdict in the ledger: as a seal, or as a refusal.

In: a release, its verdict and evidence. Out: the record. Accepted: the manifest is written first, then the seal is
signed and recorded; a crash in between leaves a manifest that nothing names, and the gate can simply be asked again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlflow_project.adapters.releases import write_release
from mlflow_project.domain.model import Loading
from mlflow_project.domain.record import LedgerRecord
from mlflow_project.domain.release import Release
from mlflow_project.domain.times import utc_now
from mlflow_project.domain.verdict import Verdict
from mlflow_project.errors import SealBroken
from mlflow_project.ledger import Draft, Seal
from mlflow_project.parts import Parts
from mlflow_project.promotion.sealed import checked_statement
from mlflow_project.seal.keys import ensure_key, signing_key
from mlflow_project.seal.seal import sign
from mlflow_project.seal.statement import statement_for
from mlflow_project.telemetry.catalogue import VERDICTS


def record_verdict(
    parts: Parts,
    *,
    release: Release,
    verdict: Verdict,
    policy_digest: str,
    champion: Release | None,
    runs: Mapping[str, str | None],
    cases: Mapping[str, Any],
    who: str,
    scores: Mapping[str, str | None] | None = None,
    protected: bool = False,
    loading: Loading | None = None,
    guard: Mapping[str, Any] | None = None,
    replay: Mapping[str, Any] | None = None,
) -> LedgerRecord:
    """Seal the release, or record why not.

    Args:
        scores: the digests of the scores that the verdict was computed from, under the names of `runs`.
        protected: what the policy says of the name: it then follows the ledger alone, and needs an approval.
        loading: for a model, what the policy allows when its files are loaded.
        guard: what the guard watches once the release is live, as the policy has it.
        replay: the replay that the policy asks for: `run`, `digest`, `questions`.

    Raises:
        SealBroken: this version was sealed before with other content.
        Unavailable: the store does not answer. ConfigError: there is no signing key and none can be made.
    """
    _check_not_resealed(parts, release)
    statement = statement_for(
        release, verdict, policy_digest, champion, runs, cases, who, utc_now(), scores, protected, loading, replay
    )
    evidence = _sealed(parts, release, statement, protected, guard) if verdict.accepted else _refused(statement)
    parts.meters.record(VERDICTS, 1, release=release.label, outcome=verdict.outcome)
    return parts.ledger.append(
        Draft(
            "seal" if verdict.accepted else "refusal",
            release.manifest.kind,
            release.name,
            who,
            "; ".join(verdict.reasons),
            version=release.version,
            digest=release.digest,
            evidence=evidence,
        )
    )


def same_seal(
    parts: Parts, release: Release, policy_digest: str, cases_digest: str, champion: Release | None
) -> Seal | None:
    """The seal that already says what a new one would: of this content, by this policy, on these cases, against this
    champion. None if there is none, if its signature is not trusted, or if the gate has refused the version since.
    """
    state = parts.ledger.state().of(release.name, release.manifest.kind)
    seal = state.seals.get(release.version)
    if seal is None or release.version in state.refusals:
        return None
    try:
        statement = checked_statement(parts, release.name, seal)
    except SealBroken:
        return None
    against = None if champion is None else (champion.version, champion.digest)
    stated = (statement.digest, statement.policy_digest, statement.predicate["cases"]["digest"], statement.champion)
    return seal if stated == (release.digest, policy_digest, cases_digest, against) else None


def _sealed(
    parts: Parts,
    release: Release,
    statement: Mapping[str, Any],
    protected: bool,
    guard: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """A model's files and the manifest in the store, then the signed statement."""
    if release.manifest.kind == "model":
        parts.models.publish(release)
    write_release(parts.store, release)
    ensure_key(parts.seal)
    watched = {"guard": guard} if guard is not None else {}
    return {"envelope": sign(statement, signing_key(parts.seal)), "protected": protected, **watched}


def _refused(statement: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("verdict", "policy", "champion", "runs", "scores", "cases", "replay")
    return {key: statement["predicate"][key] for key in kept if key in statement["predicate"]}


def _check_not_resealed(parts: Parts, release: Release) -> None:
    """A number means one content for ever, so that `qa/7` in a log or a header is never two things."""
    before = parts.ledger.state().of(release.name).seals.get(release.version)
    if before is not None and before.digest != release.digest:
        raise SealBroken(
            f"{release.label} was sealed before with other content ({before.digest[:19]}, record {before.serial}), and "
            "was changed in MLflow since: register the new content as a version of its own."
        )
