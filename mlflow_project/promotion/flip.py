"""Moves one alias: intent record, warm workers, `Previous`, the alias, receipts, outcome record.

In: a decision on a state of the ledger. Out: a `Flip` with its receipts. The intent record takes the ledger's next
serial, so of several moves that were decided on the same state one wins. If somebody else writes a record in between,
the move reads it, and goes on if it changes nothing that the decision depends on. The intent is open until its outcome
is written. `settle` ends an open intent whose writer is gone: if the alias was moved, the flip is finished, otherwise
it is undone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from mlflow_project.domain.record import LedgerRecord
from mlflow_project.domain.times import utc_text
from mlflow_project.errors import PromotionConflict, Refused, Unavailable, WorkspaceError
from mlflow_project.ledger import Draft, LiveVersion, NameState, State
from mlflow_project.ledger.observe import PREVIOUS
from mlflow_project.ledger.replaying import STALLED
from mlflow_project.ledger.state import PRODUCTION
from mlflow_project.parts import Parts
from mlflow_project.promotion.canary import point_canary
from mlflow_project.promotion.hosts import presences, read_hosts
from mlflow_project.promotion.intent import answer, expires_at, is_dead, is_open, is_under_way, writer_evidence
from mlflow_project.promotion.receipts import Receipts, Wanted, await_receipts, live_workers
from mlflow_project.telemetry.catalogue import FLIP_DURATION

logger = logging.getLogger(__name__)

_READY = ("warm", "serving")
_URGENT_SECONDS = 2.0
FIRST_MODEL_SECONDS = 30.0
"""A worker's first model makes it import scikit-learn, which takes seconds, and longer on a busy machine."""
_TRIES = 3


@dataclass(frozen=True)
class Move:
    """A flip that is decided and not yet made. `how` is the type of its outcome record."""

    how: Literal["flip", "rollback"]
    kind: str
    name: str
    alias: str
    version: int
    digest: str
    who: str
    why: str
    before: LiveVersion | None
    evidence: dict[str, Any] = field(default_factory=dict)


Decide = Callable[[NameState], Move]


@dataclass(frozen=True)
class Flip:
    """A flip that was made. `moved` is false if the release was live already, so that nothing was done."""

    how: str
    kind: str
    name: str
    alias: str
    version: int
    digest: str
    from_version: int | None
    receipts: Receipts
    serial: int
    moved: bool = True

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        fields = ("how", "kind", "name", "alias", "version", "digest", "from_version", "serial", "moved")
        return {**{key: getattr(self, key) for key in fields}, "receipts": self.receipts.to_dict()}


def carry_out(parts: Parts, state: State, move: Move, decide: Decide) -> Flip:
    """Make the move that was decided on this state of the ledger.

    Args:
        decide: decides anew on a newer state of the same name; raises what speaks against the move by then.

    Raises:
        PromotionConflict: somebody else was first, or has ended this flip; the alias is where the record has it.
        Refused: no worker could warm the release. Unavailable: a service does not answer. The flip is undone, or the
        message says that it is still open.
    """
    began, outcome = time.perf_counter(), "failed"
    try:
        flip = _carried_out(parts, _intend(parts, state, move, decide), move)
        outcome = "done"
        return flip
    finally:
        labels = {"release": f"{move.name}/{move.version}", "how": move.how, "outcome": outcome}
        parts.meters.record(FLIP_DURATION, 1000 * (time.perf_counter() - began), **labels)


def _carried_out(parts: Parts, intent: LedgerRecord, move: Move) -> Flip:
    try:
        parts.serving.wake_follower()
        _warm(parts, move)
        if not is_open(parts.ledger, intent):
            raise PromotionConflict(f"The flip of {move.name} took too long and was ended by somebody else meanwhile.")
        receipts = _switch(parts, move)
        record = answer(parts.ledger, intent, _outcome(move.how, move, {"receipts": receipts.to_dict()}))
    except PromotionConflict:
        _put_back(parts, move)
        raise
    except WorkspaceError as error:
        _end_after(parts, intent, error)
        raise
    return Flip(
        move.how,
        move.kind,
        move.name,
        move.alias,
        move.version,
        move.digest,
        move.before.version if move.before else None,
        receipts,
        record.serial,
    )


def settle(parts: Parts, state: NameState, who: str) -> LedgerRecord | None:
    """End the open intent of a name: finish the flip if the alias was moved, else undo it. None: none is open.

    Raises:
        PromotionConflict: its writer may still be at work.
    """
    intent = state.intent
    if intent is None:
        return None
    if is_under_way(intent):
        raise PromotionConflict(
            f"{intent.who} is moving {intent.alias} of {intent.name} to {intent.version} since {intent.time} "
            f"(record {intent.serial}). If that process is gone, wait until {_clock(expires_at(intent))} and "
            "run `switchyard repair`."
        )
    return _end(parts, intent, who, None if is_dead(intent) else STALLED)


def _clock(seconds: float) -> str:
    return utc_text(datetime.fromtimestamp(seconds, UTC), timespec="seconds")


def _intend(parts: Parts, state: State, move: Move, decide: Decide) -> LedgerRecord:
    """Write the intent as the record after the state that the move was decided on.

    Whoever writes a record in between wins the place. Then the ledger is read again: where a record is about this name,
    the move is decided anew and must come out the same.
    """
    for _ in range(_TRIES):
        try:
            return parts.ledger.append_at(state.serial + 1, _draft_intent(parts, move))
        except PromotionConflict:
            before, state = state.of(move.name), parts.ledger.state()
            now = state.of(move.name)
            if now != before:
                _check_still_wanted(now, move, decide)
    raise PromotionConflict(
        f"{move.name} was not moved: others wrote to the ledger {_TRIES} times in the moment between a look at it and "
        "this flip's record. Run the same command again."
    )


def _check_still_wanted(now: NameState, move: Move, decide: Decide) -> None:
    if now.intent is not None:
        raise PromotionConflict(
            f"{now.intent.who} began to move {now.intent.alias} of {now.name} to {now.intent.version} first (record "
            f"{now.intent.serial}), so this command moved nothing: see `switchyard history {now.name}`."
        )
    live = now.live.get(move.alias)
    if live != move.before:
        raise PromotionConflict(
            f"{move.alias} of {now.name} was moved{f' to {live.version} by {live.who}' if live else ''} first, so this "
            f"command moved nothing: see `switchyard history {now.name}`, and run it again if it still holds."
        )
    if decide(now) != move:
        raise PromotionConflict(
            f"What this flip of {now.name} rests on has changed meanwhile, so nothing was moved: see `switchyard "
            f"history {now.name}`, and run the same command again if it still holds."
        )


def _draft_intent(parts: Parts, move: Move) -> Draft:
    believed = {"version": move.before.version, "digest": move.before.digest} if move.before else None
    writer = writer_evidence(2 * _patience(parts, move))
    return _outcome("intent", move, {**move.evidence, **writer, "how": move.how, "believes_live": believed})


def _outcome(kind: Any, move: Move, evidence: dict[str, Any]) -> Draft:
    return Draft(
        kind,
        move.kind,
        move.name,
        move.who,
        move.why,
        version=move.version,
        digest=move.digest,
        alias=move.alias,
        from_version=move.before.version if move.before else None,
        evidence=evidence,
    )


def _warm(parts: Parts, move: Move) -> None:
    """Wait until the live workers have the release ready; for a rollback at most two seconds.

    Workers that cannot make it ready do not stop the flip. If none can, a promotion is refused.
    """
    patience = _patience(parts, move) if move.how == "flip" else min(parts.receipt_timeout, _URGENT_SECONDS)
    wanted = Wanted(move.name, move.alias, move.version, move.digest)
    hosts = read_hosts(parts.store)
    for host in hosts:
        if host.odd:
            logger.warning("no flip waits for this host", extra={"host": host.name, "reason": host.odd})
    workers = live_workers([host.presence for host in hosts if host.lives and host.presence is not None])
    warm = await_receipts(parts.store, wanted, workers, _READY, patience, time.monotonic())
    if warm.missing and not warm.milliseconds and move.how == "flip":
        raise Refused(
            f"None of {len(workers)} live workers could make {move.name}/{move.version} ready within "
            f"{patience:g} s, so nothing was moved: the server's `/releases` says why."
        )


def _patience(parts: Parts, move: Move) -> float:
    """How many seconds a promotion waits until workers are ready."""
    return parts.receipt_timeout if move.kind == "prompt" else max(parts.receipt_timeout, FIRST_MODEL_SECONDS)


def _switch(parts: Parts, move: Move) -> Receipts:
    """Set `Previous` and the alias in MLflow, then wait for the workers that were alive at that moment."""
    workers = live_workers(presences(parts.store))
    if move.alias == PRODUCTION and move.before is not None and move.before.version != move.version:
        parts.registry.point(move.name, PREVIOUS, move.before.version)
    began = time.monotonic()
    parts.registry.set_alias(move.name, move.alias, move.version)
    parts.serving.wake_follower()
    wanted = Wanted(move.name, move.alias, move.version, move.digest)
    timeout, heard = parts.receipt_timeout, parts.on_receipt
    return await_receipts(parts.store, wanted, workers, ("serving",), timeout, began, heard)


def _put_back(parts: Parts, move: Move) -> None:
    """Put the alias back to where the ledger has it, after somebody else has ended this flip."""
    name = parts.ledger.state().of(move.name)
    live, entry = name.live.get(move.alias), parts.registry.entry(move.name)
    ours = entry is not None and entry.aliases.get(move.alias) == move.version
    if not ours or name.intent is not None or (live is not None and live.version == move.version):
        return
    parts.registry.point(move.name, move.alias, live.version if live is not None else None)
    if move.alias == PRODUCTION:
        parts.registry.point(move.name, PREVIOUS, name.was.version if name.was is not None else None)


def _end_after(parts: Parts, intent: LedgerRecord, error: Exception) -> None:
    """End the intent now if possible; else say which commands will."""
    try:
        _end(parts, intent, intent.who)
    except (Unavailable, PromotionConflict):
        raise Unavailable(
            f"{error} The flip of {intent.name} to {intent.version} is unfinished (record {intent.serial}): "
            "`switchyard repair`, or the next promote or rollback, finishes or undoes it."
        ) from error


def _end(parts: Parts, intent: LedgerRecord, who: str, writer: str | None = None) -> LedgerRecord:
    entry = parts.registry.entry(intent.name)
    aliases = entry.aliases if entry is not None else {}
    moved = aliases.get(intent.alias or "") == intent.version
    if intent.alias == PRODUCTION:
        _set_previous(parts, intent, moved, aliases.get(PREVIOUS))
    draft = Draft(
        ("rollback" if intent.evidence.get("how") == "rollback" else "flip") if moved else "aborted",
        intent.kind,
        intent.name,
        intent.who,
        intent.why,
        version=intent.version,
        digest=intent.digest,
        alias=intent.alias,
        from_version=intent.from_version,
        evidence={"settled_by": who, **({"writer": writer} if writer else {})},
    )
    record = answer(parts.ledger, intent, draft)
    if moved and "rollout" in intent.evidence:
        point_canary(parts, parts.ledger.state().of(intent.name))
    return record


def _set_previous(parts: Parts, intent: LedgerRecord, moved: bool, now: int | None) -> None:
    """`Previous` as it belongs to where the alias was found."""
    was = parts.ledger.state().of(intent.name).was
    wanted = intent.from_version if moved else was.version if was else None
    if moved and wanted == intent.version:
        return
    if wanted != now:
        parts.registry.point(intent.name, PREVIOUS, wanted)
