"""Opens a rollout: one ledger record, then the canary is warmed on every worker and asked, then the first step.

In: a sealed version that may be promoted, and a plan. Out: the `Change` of the first step. Until that step, no caller's
request reaches the canary. If the canary cannot be made ready or fails a question, the rollout is aborted. With the one
step 100 % this is blue/green: everything is warm and checked before all traffic moves at once.
"""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import replace

from mlflow_project.domain.rollout import Plan, Rollout
from mlflow_project.errors import PromotionConflict, Refused, WorkspaceError
from mlflow_project.ledger import Draft, NameState
from mlflow_project.ledger.state import PRODUCTION
from mlflow_project.parts import Parts
from mlflow_project.promotion.canary import point_canary
from mlflow_project.promotion.promote import check_allowed, joined_reasons, settled_state
from mlflow_project.promotion.retracted import check_texts
from mlflow_project.promotion.sealed import sealed_release
from mlflow_project.rollouts.changes import Change, Order, abort, append, await_canary, draft, step
from mlflow_project.rollouts.smoke import Bodies, ask_canary


def start(
    parts: Parts,
    name: str,
    version: int,
    plan: Plan,
    who: str,
    why: str = "",
    despite_rollback: str = "",
    smoke: Bodies = (),
    despite_retraction: str = "",
) -> Change:
    """Open a rollout of a sealed version, and take its first step.

    Args:
        plan: without a guard's policy, that of the version's seal counts.
        despite_retraction: why a release that rests on retracted text may get traffic.
        smoke: the bodies of requests that the canary must answer before the first step.

    Raises:
        PromotionConflict: another rollout or a flip of the name is under way, or the version was sealed against another
        champion. SealBroken: it is not sealed, or changed since. Refused: nothing is live, the version is live already,
        it lacks an approval, it rests on retracted text, a worker cannot make it ready, or it failed a question.
        NotFound: there is no such version. Unavailable: a service does not answer.
    """
    salt = secrets.token_hex(8)
    settled_state(parts, name, who)
    reason = joined_reasons(why, despite_rollback, despite_retraction)

    def decide(of: NameState) -> Draft:
        _check_free(of)
        return _opening(parts, of, version, plan, salt, who, reason, despite_rollback, despite_retraction)

    record = append(parts, name, decide)
    rollout = parts.ledger.state().of(name).rollout
    if rollout is None or rollout.id != record.serial:
        raise PromotionConflict(f"The rollout of {name}/{version} was ended by somebody else meanwhile.")
    try:
        parts.serving.wake_follower()
        point_canary(parts, parts.ledger.state().of(name))
        ready = await_canary(parts, rollout)
        asked = ask_canary(parts.client, rollout, smoke if ready.workers else ())
        evidence = {"smoke_questions": asked, "warm": ready.to_dict()}
        return step(parts, name, Order(who, "the first step", evidence))
    except WorkspaceError as error:
        with contextlib.suppress(WorkspaceError):  # the message that counts is the first one
            abort(parts, name, Order(who, f"it did not begin: {error}", expected=rollout))
        raise


def _check_free(of: NameState) -> None:
    """Raises:
    PromotionConflict: another rollout or a flip of the name is under way.
    """
    if of.rollout is not None:
        raise PromotionConflict(
            f"{of.rollout.describe()}, so no second rollout of {of.name} begins. End the first: `switchyard rollout "
            f"abort {of.name}`, or `switchyard rollout finish {of.name}`."
        )
    if of.intent is not None:
        raise PromotionConflict(
            f"{of.intent.who} is moving {of.intent.alias} of {of.name} to {of.intent.version} since {of.intent.time} "
            f"(record {of.intent.serial}), so no rollout begins now."
        )


def _opening(
    parts: Parts,
    of: NameState,
    version: int,
    plan: Plan,
    salt: str,
    who: str,
    why: str,
    despite_rollback: str,
    despite_retraction: str,
) -> Draft:
    live = of.live.get(PRODUCTION)
    if live is None:
        raise Refused(
            f"Nothing of {of.name} is live in {PRODUCTION}, so a rollout has nothing to be compared with: `switchyard "
            f"promote {of.name} --version {version} --to {PRODUCTION}` makes the first version live."
        )
    seal, statement = sealed_release(parts, of, version)
    if (seal.version, seal.digest) == (live.version, live.digest):
        raise Refused(f"{of.name}/{version} is live in {PRODUCTION} already, so there is nothing to roll out.")
    despite = check_texts(of, version, seal.digest, despite_retraction)
    despite |= check_allowed(of, seal, statement, who, despite_rollback)
    opening = Rollout(
        id=0,
        kind=of.kind,
        name=of.name,
        version=version,
        digest=seal.digest,
        baseline_version=live.version,
        baseline_digest=live.digest,
        plan=plan if plan.guard is not None else replace(plan, guard=seal.guard),
        salt=salt,
        who=who,
        why=why,
        opened="",
        step_since="",
    )
    return draft("rollout", opening, Order(who, why, opening.evidence()), seal=seal.serial, **despite)
