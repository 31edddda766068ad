"""Promote and roll back: whether an alias may move, decided on one state of the ledger, then carried out.

Promotion to Production demands a seal that was made against exactly what is live now; a rollback does not, but what it
goes back to must still be sealed and unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from mlflow_project.domain.rollout import Rollout
from mlflow_project.errors import InvalidData, NotFound, PromotionConflict, Refused
from mlflow_project.identity import by_key
from mlflow_project.ledger import LiveVersion, NameState, Seal, State
from mlflow_project.ledger.state import PRODUCTION, SERVED_ALIASES
from mlflow_project.parts import Parts
from mlflow_project.promotion.flip import Flip, Move, carry_out, settle
from mlflow_project.promotion.going_back import nothing_to_go_back_to
from mlflow_project.promotion.receipts import Receipts
from mlflow_project.promotion.retracted import check_texts
from mlflow_project.promotion.sealed import sealed_release
from mlflow_project.seal.statement import Statement


def promote(
    parts: Parts,
    name: str,
    version: int,
    to: str,
    who: str,
    why: str = "",
    despite_rollback: str = "",
    rollout: Rollout | None = None,
    despite_retraction: str = "",
) -> Flip:
    """Point `Staging` or `Production` at a sealed version; the flip with its receipts.

    Args:
        despite_rollback: why a release that was rolled back for a reason shall be live again; it stands in the record.
        rollout: the rollout that this promotion finishes. Whoever began it was allowed to promote the version.
        despite_retraction: why a release that rests on retracted text may be live; it stands in the record.

    Raises:
        SealBroken: not sealed, or changed since. PromotionConflict: the champion has changed, somebody else was first,
        or a rollout of the name is under way. Refused: a protected name without approval, a release that was rolled
        back for a reason, or one that rests on retracted text. NotFound, InvalidData: no such version, no such alias.
    """
    if to not in SERVED_ALIASES:
        raise InvalidData(f"Promotion goes to {' or '.join(SERVED_ALIASES)}, not to {to!r}.")
    state = settled_state(parts, name, who)
    live, seal = state.of(name).live.get(to), state.of(name).seals.get(version)
    if live is not None and seal is not None and (live.version, live.digest) == (version, seal.digest):
        sealed_release(parts, state.of(name), version)
        return _live_already(parts, state.of(name), to, live)
    reason = joined_reasons(why, despite_rollback, despite_retraction)

    def decide(of: NameState) -> Move:
        check_no_rollout(of, rollout)
        sealed = None if rollout is None else of.all_seals.get((rollout.version, rollout.digest))
        seal, statement = sealed_release(parts, of, version, sealed)
        evidence = check_texts(of, version, seal.digest, despite_retraction, rollout)
        if rollout is not None:
            check_allowed(of, seal, statement, rollout.who, "it is rolled out")
            evidence["rollout"] = rollout.id
        elif to == PRODUCTION:
            evidence |= check_allowed(of, seal, statement, who, despite_rollback)
        return _move("flip", of, to, seal, who, reason, evidence)

    return carry_out(parts, state, decide(state.of(name)), decide)


def rollback(
    parts: Parts,
    name: str,
    who: str,
    why: str = "",
    to: int | None = None,
    evidence: Mapping[str, Any] | None = None,
    expected: int | None = None,
    despite_retraction: str = "",
) -> Flip:
    """Go back to what was live in Production before, or to one of those versions by number.

    Args:
        evidence: what the record says besides.
        expected: the record that made live what is rolled back, for a program that has decided on that.
        despite_retraction: why a release that rests on retracted text may be live; it stands in the record.

    Raises:
        PromotionConflict: something else is live than `expected`, or somebody else was first.
        Refused: there is nothing to go back to, or `to` was never live, was rolled back for a reason, or rests on
        retracted text. SealBroken: the
        target was changed since it was sealed.
    """

    def decide(of: NameState) -> Move:
        check_no_rollout(of)
        live = of.live.get(PRODUCTION)
        if expected is not None and (live is None or live.serial != expected):
            raise PromotionConflict(
                f"Something else is live in {PRODUCTION} of {name} by now, so nothing is rolled back."
            )
        target = _target(of, to)
        seal, _ = sealed_release(parts, of, target.version, of.seal_of(target))
        stated = {**(evidence or {}), **check_texts(of, target.version, seal.digest, despite_retraction)}
        return _move("rollback", of, PRODUCTION, seal, who, joined_reasons(why, despite_retraction), stated)

    state = settled_state(parts, name, who)
    return carry_out(parts, state, decide(state.of(name)), decide)


def settled_state(parts: Parts, name: str, who: str) -> State:
    """The ledger's state, after any flip of this name that a crash left open was ended.

    Raises:
        NotFound: neither ledger nor registry knows the name. PromotionConflict: a flip of it is under way.
    """
    state = parts.ledger.state()
    if name not in state.names:
        if parts.registry.entry(name) is None:
            raise NotFound(f"There is no prompt or model {name!r}: `switchyard register` makes one.")
        return state
    if settle(parts, state.of(name), who) is not None:
        return parts.ledger.state()
    return state


def check_allowed(
    of: NameState, seal: Seal, statement: Statement, who: str, despite_rollback: str = ""
) -> dict[str, Any]:
    """Check that a version may become live in Production. Returns what the record says of an earlier rollback.

    Raises:
        PromotionConflict: it was sealed against another champion. Refused: it lacks an approval, or was rolled back for
        a reason and none is given against that.
    """
    _check_champion(of, statement)
    _check_approval(of, seal, who)
    return _despite(of, seal, despite_rollback)


def joined_reasons(*reasons: str) -> str:
    """Several reasons as one text for a record, without the empty ones."""
    return "; ".join(each.strip() for each in reasons if each.strip())


def check_no_rollout(of: NameState, finishes: Rollout | None = None) -> None:
    """Check that no rollout of a name is under way, except the one that a promotion finishes.

    Raises:
        PromotionConflict: one is, or it is not that one.
    """
    if of.rollout is not None and (finishes is None or of.rollout.id != finishes.id):
        raise PromotionConflict(
            f"{of.rollout.describe()}, so no alias of {of.name} is moved now. End the rollout first: `switchyard "
            f"rollout abort {of.name}`, or `switchyard rollout finish {of.name}`."
        )
    if of.rollout is None and finishes is not None:
        raise PromotionConflict(f"The rollout of {finishes.label} (record {finishes.id}) has ended meanwhile.")


def _live_already(parts: Parts, of: NameState, alias: str, live: LiveVersion) -> Flip:
    entry = parts.registry.entry(of.name)
    if entry is None or entry.aliases.get(alias) != live.version:
        raise Refused(
            f"{of.name}/{live.version} is live in {alias} already, but the alias was moved by hand: "
            f"`switchyard reconcile {of.name}` puts it back."
        )
    return Flip(
        "flip", of.kind, of.name, alias, live.version, live.digest, live.version, Receipts(()), live.serial, moved=False
    )


def _check_champion(of: NameState, statement: Statement) -> None:
    live = of.live.get(PRODUCTION)
    now = (live.version, live.digest) if live else None
    if statement.champion == now:
        return
    against = f"{of.name}/{statement.champion[0]}" if statement.champion else "no champion"
    present = f"{of.name}/{now[0]}" if now else "nothing"
    if statement.champion and now and statement.champion[0] == now[0]:
        present += " with other content"
    raise PromotionConflict(
        f"{of.name}/{statement.version} was sealed against {against}, but {present} is live now: evaluate and "
        "gate it again."
    )


def _check_approval(of: NameState, seal: Seal, who: str) -> None:
    if not (of.protected or seal.protected):
        return
    if not by_key(who):
        raise Refused(
            f"{of.name} is protected: promote it with an API key, not as {who}. Set SWITCHYARD_API_KEY "
            "(`switchyard keys create OWNER` makes one)."
        )
    if any(by_key(other) and other != who for other in of.approved_by(seal.version, seal.digest)):
        return
    raise Refused(
        f"{of.name} is protected: somebody other than {who} has to approve this version first, by "
        f"`switchyard approve {of.name} --version {seal.version}` with an API key of their own."
    )


def _despite(of: NameState, seal: Seal, reason: str) -> dict[str, Any]:
    """The number of an earlier rollback of this release, for the record.

    Raises:
        Refused: it was rolled back for a reason, and none is given against that.
    """
    found = of.withdrawn(seal.digest)
    if found is None:
        return {}
    if not reason.strip():
        same = "" if found.version == seal.version else f", whose content is that of {of.name}/{found.version},"
        raise Refused(
            f"{of.name}/{seal.version}{same} was rolled back from {PRODUCTION} by {found.who} at {found.time} (record "
            f'{found.serial}): "{found.reason}". If it may be live again, say why: `switchyard promote {of.name} '
            f'--version {seal.version} --to {PRODUCTION} --despite-rollback "..."`.'
        )
    return {"despite_rollback": found.serial}


def _target(of: NameState, to: int | None) -> LiveVersion:
    live, back = of.live.get(PRODUCTION), of.rollback_target()
    if to is None:
        if back is None:
            raise Refused(nothing_to_go_back_to(of))
        return back
    if live is not None and live.version == to:
        raise Refused(f"{of.name}/{to} is live in {PRODUCTION} now, so there is nothing to roll back.")
    before = of.rolled_back.get(to)
    if before is not None and before.reason:
        raise Refused(
            f"{of.name}/{to} was rolled back by {before.who} at {before.time} (record {before.serial}): "
            f'"{before.reason}". If it is good after all: `switchyard promote {of.name} --version {to} --to '
            f'{PRODUCTION} --despite-rollback "..."`.'
        )
    found = next((item for item in reversed(of.production) if item.version == to), None)
    if found is None:
        raise Refused(f"{of.name}/{to} was never live in {PRODUCTION}: evaluate, gate and promote it.")
    return found


def _move(
    how: Literal["flip", "rollback"],
    of: NameState,
    alias: str,
    seal: Seal,
    who: str,
    why: str,
    evidence: Mapping[str, Any] | None = None,
) -> Move:
    return Move(
        how=how,
        kind=of.kind,
        name=of.name,
        alias=alias,
        version=seal.version,
        digest=seal.digest,
        who=who,
        why=why,
        before=of.live.get(alias),
        evidence={"seal": seal.serial, **(evidence or {})},
    )
