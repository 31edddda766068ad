"""Promote and roll back: whether an alias may move, decided on one state of the ledger, then carried out.

Promotion to Production demands a seal that was made against exactly what is live now; a rollback does not, but what it
goes back to must still be sealed and unchanged.
"""

from __future__ import annotations

from mlflow_project.errors import InvalidData, NotFound, PromotionConflict, Refused
from mlflow_project.identity import by_key
from mlflow_project.ledger import NameState, Seal, Standing, State
from mlflow_project.ledger.state import PRODUCTION, SERVED_ALIASES
from mlflow_project.promotion.flip import Flip, Move, carry_out, settle
from mlflow_project.promotion.parts import Parts
from mlflow_project.promotion.receipts import Receipts
from mlflow_project.promotion.sealed import sealed_release
from mlflow_project.seal.statement import Statement


def promote(parts: Parts, name: str, version: int, to: str, who: str, why: str = "") -> Flip:
    """Point `Staging` or `Production` at a sealed version; the flip with its receipts.

    Raises:
        SealBroken: not sealed, or changed since. PromotionConflict: the champion has changed, or somebody else was
        first. Refused: a protected name without approval. NotFound, InvalidData: no such version, no such alias.
    """
    if to not in SERVED_ALIASES:
        raise InvalidData(f"Promotion goes to {' or '.join(SERVED_ALIASES)} (spelt like this), not to {to!r}.")
    state = settled_state(parts, name, who)
    of = state.of(name)
    seal, statement = sealed_release(parts, of, version)
    live = of.live.get(to)
    if live is not None and (live.version, live.digest) == (version, seal.digest):
        return _live_already(parts, of, to, live)
    if to == PRODUCTION:
        _check_champion(of, statement)
        _check_approval(of, seal, who)
    return carry_out(parts, state, _move("flip", of, to, seal, who, why))


def rollback(parts: Parts, name: str, who: str, why: str = "", to: int | None = None) -> Flip:
    """Go back to what was live in Production before, or to one of those versions by number.

    Raises:
        Refused: there is nothing to go back to, or `to` was never live or was rolled back from. SealBroken: the
        target was changed since it was sealed.
    """
    state = settled_state(parts, name, who)
    of = state.of(name)
    target = _target(of, to)
    seal, _ = sealed_release(parts, of, target.version, of.seal_of(target))
    return carry_out(parts, state, _move("rollback", of, PRODUCTION, seal, who, why))


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


def _live_already(parts: Parts, of: NameState, alias: str, live: Standing) -> Flip:
    entry = parts.registry.entry(of.name)
    if entry is None or entry.aliases.get(alias) != live.version:
        raise Refused(
            f"By the record {of.name}/{live.version} is live in {alias}, but the alias was moved by hand: "
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
            f"{of.name} is protected: who promotes it is known by an API key, not as {who}. Set SWITCHYARD_API_KEY "
            "(`switchyard keys create OWNER` makes one)."
        )
    if any(by_key(other) and other != who for other in of.approved_by(seal.version, seal.digest)):
        return
    raise Refused(
        f"{of.name} is protected: somebody other than {who} has to approve this version first, by "
        f"`switchyard approve {of.name} --version {seal.version}` with an API key of their own."
    )


def _target(of: NameState, to: int | None) -> Standing:
    live, back = of.live.get(PRODUCTION), of.rollback_target()
    if to is None:
        if back is None:
            raise Refused(f"There is nothing to roll {of.name} back to: no other version was live before.")
        return back
    if live is not None and live.version == to:
        raise Refused(f"{of.name}/{to} is what is live now.")
    if to in of.rolled_back:
        raise Refused(f"{of.name}/{to} was rolled back from; if it is good after all, promote it.")
    found = next((standing for standing in reversed(of.production) if standing.version == to), None)
    if found is None:
        raise Refused(f"{of.name}/{to} was never live in {PRODUCTION}: evaluate, gate and promote it.")
    return found


def _move(how: str, of: NameState, alias: str, seal: Seal, who: str, why: str) -> Move:
    return Move(
        how=how,  # type: ignore[arg-type]
        kind=of.kind,
        name=of.name,
        alias=alias,
        version=seal.version,
        digest=seal.digest,
        who=who,
        why=why,
        before=of.live.get(alias),
        evidence={"seal": seal.serial},
    )
