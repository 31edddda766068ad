"""Changes a rollout that is under way: the next step, hold, resume, abort, finish. Each change is one ledger record.

In: a name, and an `Order`. Out: a `Change` with the receipts of the workers. A change is decided on the state of the
ledger that its record follows, so of two that exclude each other one wins.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mlflow_project.domain.record import LedgerRecord, RecordType
from mlflow_project.domain.rollout import CANARY, Rollout, percent
from mlflow_project.errors import PromotionConflict, Refused, Unavailable
from mlflow_project.ledger import Draft, NameState
from mlflow_project.ledger.state import PRODUCTION
from mlflow_project.parts import Parts
from mlflow_project.promotion.canary import point_canary
from mlflow_project.promotion.flip import FIRST_MODEL_SECONDS
from mlflow_project.promotion.hosts import presences
from mlflow_project.promotion.promote import promote, settled_state
from mlflow_project.promotion.receipts import Receipts, Wanted, await_end, await_receipts, live_workers
from mlflow_project.promotion.retracted import check_texts
from mlflow_project.promotion.sealed import sealed_release

logger = logging.getLogger(__name__)

_TRIES = 20
NO_RECEIPTS = Receipts(())
"""Nothing changes for workers."""


@dataclass(frozen=True)
class Order:
    """Who wants a change, why, and on what evidence.

    `expected` is the rollout that the decision of a program rests on. The change is refused if the ledger has another
    state of it by then.
    """

    who: str
    why: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    expected: Rollout | None = None


@dataclass(frozen=True)
class Change:
    """A change that was made: its ledger record, and the rollout as it is now (as it was, where that ended it)."""

    how: str
    rollout: Rollout
    serial: int
    receipts: Receipts = NO_RECEIPTS

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "how": self.how,
            "serial": self.serial,
            "rollout": self.rollout.to_dict(),
            "receipts": self.receipts.to_dict(),
        }


def step(parts: Parts, name: str, order: Order) -> Change:
    """Give the canary the share of the next step. A step to 100 % finishes the rollout.

    Raises:
        Refused: there is no rollout or no further step, it is held, the canary rests on text that was retracted since,
        or a worker cannot make it ready.
        SealBroken: the canary was changed since it was sealed. PromotionConflict: somebody else was first.
        Unavailable: a service does not answer; the share stays.
    """
    of = settled_state(parts, name, order.who).of(name)
    rollout = _with_next_step(of, order.expected)
    sealed_release(parts, of, rollout.version, of.all_seals[rollout.version, rollout.digest])
    check_texts(of, rollout.version, rollout.digest, rollout=rollout)
    await_canary(parts, rollout)
    share = rollout.next_share
    if share is None or share >= 1:
        return finish(parts, name, replace(order, expected=order.expected or rollout))

    def decide(of: NameState) -> Draft:
        now = _with_next_step(of, order.expected)
        if (now.id, now.next_share) != (rollout.id, share):
            raise PromotionConflict(f"Somebody else has moved the rollout of {name} meanwhile: {now.describe()}.")
        return draft("step", now, order, share=share, from_share=now.share)

    workers, began = live_workers(presences(parts.store)), time.monotonic()
    record = append(parts, name, decide)
    parts.serving.wake_follower()
    _show_canary(parts, name)
    wanted, timeout = _wanted(rollout, share), parts.receipt_timeout
    receipts = await_receipts(parts.store, wanted, workers, ("serving",), timeout, began, parts.on_receipt)
    return _recorded(parts, "step", name, record, receipts)


def _with_next_step(of: NameState, expected: Rollout | None) -> Rollout:
    """The rollout under way, which may take a step now.

    Raises:
        Refused: there is none, it is held, or it has no further step.
    """
    rollout = current(of, expected)
    if rollout.held:
        raise Refused(
            f"The rollout of {rollout.label} is held ({rollout.held_why}), so no step is taken: "
            f"`switchyard rollout resume {of.name}` goes on."
        )
    if rollout.next_share is None:
        raise Refused(
            f"The rollout of {rollout.label} has reached its last step, {percent(rollout.share)}: "
            f"`switchyard rollout finish {of.name}` promotes it, `switchyard rollout abort {of.name}` ends it."
        )
    return rollout


def hold(parts: Parts, name: str, order: Order) -> Change:
    """Take no further step until somebody resumes. The share stays.

    Raises:
        Refused: there is no rollout, or it is held already.
    """

    def decide(of: NameState) -> Draft:
        rollout = current(of, order.expected)
        if rollout.held:
            raise Refused(f"The rollout of {rollout.label} is held already ({rollout.held_why}).")
        return draft("hold", rollout, order)

    return _recorded(parts, "hold", name, append(parts, name, decide))


def resume(parts: Parts, name: str, order: Order) -> Change:
    """Go on after a hold. The time of the present step begins anew.

    Raises:
        Refused: there is no rollout, or it is not held.
    """

    def decide(of: NameState) -> Draft:
        rollout = current(of, order.expected)
        if not rollout.held:
            raise Refused(f"The rollout of {rollout.label} is not held, so there is nothing to resume.")
        return draft("resume", rollout, order)

    return _recorded(parts, "resume", name, append(parts, name, decide))


def abort(parts: Parts, name: str, order: Order) -> Change:
    """End a rollout: all traffic goes to the old release again. Needs the ledger alone, and not MLflow.

    Raises:
        Refused: there is no rollout. PromotionConflict: it is being finished just now.
    """
    of = settled_state(parts, name, order.who).of(name)
    rollout = current(of, order.expected)
    workers, began = live_workers(presences(parts.store)), time.monotonic()

    def decide(of: NameState) -> Draft:
        if of.intent is not None:
            raise PromotionConflict(f"{of.intent.who} is finishing the rollout of {name} (record {of.intent.serial}).")
        return draft("abort", current(of, order.expected), order)

    record = append(parts, name, decide)
    parts.serving.wake_follower()
    _show_canary(parts, name)
    ended = await_end(parts.store, _wanted(rollout), workers, parts.receipt_timeout, began, parts.on_receipt)
    return Change("abort", rollout, record.serial, ended)


def finish(parts: Parts, name: str, order: Order) -> Change:
    """Give the canary all traffic by the ordinary promotion, at any step.

    Raises:
        Refused: there is no rollout. Otherwise as `promotion.promote.promote`.
    """
    rollout = current(settled_state(parts, name, order.who).of(name), order.expected)
    flip = promote(parts, name, rollout.version, PRODUCTION, order.who, order.why or rollout.why, rollout=rollout)
    record = append(parts, name, lambda of: draft("finish", rollout, order, flip=flip.serial))
    point_canary(parts, parts.ledger.state().of(name))
    return Change("finish", rollout, record.serial, flip.receipts)


def current(of: NameState, expected: Rollout | None = None) -> Rollout:
    """The rollout under way.

    Raises:
        Refused: there is none. PromotionConflict: it is no longer as expected.
    """
    if of.rollout is None:
        raise Refused(
            f"No rollout of {of.name} is under way: `switchyard rollout start {of.name} --version N --steps "
            "1%,5%,25%,100%` opens one."
        )
    if expected is not None and of.rollout != expected:
        raise PromotionConflict(f"The rollout of {of.name} has changed meanwhile: {of.rollout.describe()}.")
    return of.rollout


def draft(kind: RecordType, rollout: Rollout, order: Order, **more: Any) -> Draft:
    """A record about a rollout. Its evidence is that of the order, and `more`."""
    return Draft(
        kind,
        rollout.kind,
        rollout.name,
        order.who,
        order.why,
        version=rollout.version,
        digest=rollout.digest,
        alias=CANARY,
        from_version=rollout.baseline_version,
        intent=rollout.id or None,
        evidence={**order.evidence, **more},
    )


def append(parts: Parts, name: str, decide: Callable[[NameState], Draft]) -> LedgerRecord:
    """Append what is decided on a state of the ledger, as the record right after that state.

    Args:
        decide: raises what speaks against the change.

    Raises:
        PromotionConflict: others wrote to the ledger again and again in between.
    """
    for tried in range(_TRIES):
        state = parts.ledger.state()
        change = decide(state.of(name))
        try:
            return parts.ledger.append_at(state.serial + 1, change)
        except PromotionConflict:
            time.sleep(random.uniform(0, 0.005 * 2 ** min(tried, 6)))
    raise PromotionConflict(
        f"The rollout of {name} was not changed: others wrote to the ledger {_TRIES} times in the moment between a "
        "look at it and this record. Run the same command again."
    )


def await_canary(parts: Parts, rollout: Rollout) -> Receipts:
    """Wait until every live worker has the canary ready.

    Raises:
        Refused: a worker has not.
    """
    patience = parts.receipt_timeout if rollout.kind == "prompt" else max(parts.receipt_timeout, FIRST_MODEL_SECONDS)
    workers = live_workers(presences(parts.store))
    found = await_receipts(parts.store, _wanted(rollout), workers, ("serving",), patience, time.monotonic())
    if found.missing:
        raise Refused(
            f"{len(found.missing)} of {len(workers)} live workers could not make {rollout.label} ready within "
            f"{patience:g} s ({', '.join(found.missing)}), so no traffic was moved: the server's `/releases` says why."
        )
    return found


def _show_canary(parts: Parts, name: str) -> None:
    """Set or remove the alias Canary in MLflow as the ledger says, if MLflow answers. Servers do not need the alias."""
    try:
        point_canary(parts, parts.ledger.state().of(name))
    except Unavailable as error:
        logger.warning("the alias Canary is out of date; `switchyard repair` mends it", extra={"error": str(error)})


def _recorded(parts: Parts, how: str, name: str, record: LedgerRecord, receipts: Receipts = NO_RECEIPTS) -> Change:
    rollout = parts.ledger.state().of(name).rollout
    if rollout is None or rollout.id != record.intent:
        raise PromotionConflict(f"The rollout of {name} was ended by somebody else meanwhile.")
    return Change(how, rollout, record.serial, receipts)


def _wanted(rollout: Rollout, share: float | None = None) -> Wanted:
    return Wanted(rollout.name, CANARY, rollout.version, rollout.digest, share)
