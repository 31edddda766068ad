"""Starts and stops shadows: records in the ledger, which every host's follower reads.

In: a sealed version and its limits. Out: the record. The ledger is the place because a shadow sends callers' texts to
another provider: who began that, when and why must stay known. A name has at most one shadow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mlflow_project.domain.record import LedgerRecord
from mlflow_project.domain.shadow import Shadow, ShadowLimits
from mlflow_project.errors import NotFound, PromotionConflict, Refused
from mlflow_project.ledger import Draft, NameState
from mlflow_project.ledger.state import PRODUCTION
from mlflow_project.parts import Parts
from mlflow_project.promotion.hosts import presences
from mlflow_project.promotion.sealed import sealed_release

SHADOW = "Shadow"
"""The alias of a shadow in receipts."""


@dataclass(frozen=True)
class ShadowStatus:
    """A name's shadow, and the number of workers that have loaded it, of all workers that serve the name."""

    name: str
    shadow: Shadow
    loaded: int
    workers: int


def start(
    parts: Parts, name: str, version: int, share: float, who: str, why: str = "", *, per_second: int, usd: float | None
) -> LedgerRecord:
    """Begin to copy a share of the requests for `Production` to a version.

    Raises:
        InvalidData: a limit is out of its bounds. NotFound: nothing is live, or there is no such version.
        SealBroken: the version is not sealed. PromotionConflict: the name has a shadow already.
        Refused: the version is live itself.
    """
    limits = ShadowLimits.from_dict({"share": share, "per_second": per_second, "usd_per_day": usd})

    def draft(state: NameState) -> Draft:
        live = state.live.get(PRODUCTION)
        if live is None:
            raise NotFound(f"No version of {name!r} is live in Production, so there are no requests to copy.")
        if state.shadow is not None:
            raise PromotionConflict(
                f"{name}/{state.shadow.version} has been the shadow of {name} since {state.shadow.since}, by "
                f"{state.shadow.who}. End it with `switchyard shadow stop {name}` first."
            )
        seal, _ = sealed_release(parts, state, version)
        if seal.digest == live.digest:
            raise Refused(f"{name}/{version} is what Production serves: a shadow compares another version with it.")
        evidence = {"limits": limits.to_dict()}
        return Draft("shadow", state.kind, name, who, why, version=version, digest=seal.digest, evidence=evidence)

    return _append(parts, name, draft)


def stop(parts: Parts, name: str, who: str, why: str = "") -> tuple[Shadow, LedgerRecord]:
    """End a name's shadow. Returns what it was.

    Raises:
        NotFound: the name has no shadow.
    """
    ended: list[Shadow] = []

    def draft(state: NameState) -> Draft:
        shadow = shadow_of(state)
        ended[:] = [shadow]
        version, digest = shadow.version, shadow.digest
        return Draft("shadow_stop", state.kind, name, who, why, version=version, digest=digest, intent=shadow.id)

    record = _append(parts, name, draft)
    return ended[0], record


def shadow_of(state: NameState) -> Shadow:
    """The shadow of a name.

    Raises:
        NotFound: it has none.
    """
    if state.shadow is None:
        begin = f"switchyard shadow start {state.name} --version N --share 10%"
        raise NotFound(f"{state.name} has no shadow. `{begin}` begins one.")
    return state.shadow


def status(parts: Parts, names: tuple[str, ...] = ()) -> list[ShadowStatus]:
    """The shadows of these names, or of all names.

    Raises:
        NotFound: one of the names has no shadow.
    """
    state = parts.ledger.state()
    chosen = [state.of(name) for name in names] or [each for each in state.names.values() if each.shadow is not None]
    receipts = [receipt for host in presences(parts.store) for receipt in host.receipts]
    found = []
    for known in chosen:
        shadow = shadow_of(known)
        of_name = [receipt for receipt in receipts if receipt.name == known.name]
        loaded = {each.worker for each in of_name if (each.alias, each.digest) == (SHADOW, shadow.digest)}
        workers = {each.worker for each in of_name if each.alias == PRODUCTION}
        found.append(ShadowStatus(known.name, shadow, len(loaded), len(workers)))
    return found


def _append(parts: Parts, name: str, draft: Callable[[NameState], Draft]) -> LedgerRecord:
    """Append what is decided on the newest state of the ledger; decide again if somebody else has written first."""
    while True:
        state = parts.ledger.state()
        wanted = draft(state.of(name))
        try:
            return parts.ledger.append_at(state.serial + 1, wanted)
        except PromotionConflict:
            if parts.ledger.state().serial == state.serial:
                raise
