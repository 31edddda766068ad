"""Says in words what a flip did, for the command line and the console. In: a `Flip`. Out: lines. Pure."""

from __future__ import annotations

from mlflow_project.promotion.flip import Flip
from mlflow_project.promotion.receipts import Receipts


def flip_lines(flip: Flip) -> list[str]:
    """What was moved, and what the workers said."""
    if not flip.moved:
        return [f"{flip.name}/{flip.version} is live in {flip.alias} already; nothing was moved."]
    was = f" (was {flip.name}/{flip.from_version})" if flip.from_version else ""
    return [
        f"{flip.alias} of {flip.name} -> {flip.name}/{flip.version}{was}, record {flip.serial} of the ledger",
        *receipt_lines(flip.receipts),
    ]


def receipt_lines(receipts: Receipts) -> list[str]:
    """How many workers confirmed the flip, the slowest one, and which did not."""
    if not receipts.workers:
        return ["No server has announced itself, so there is no receipt to wait for."]
    slowest = receipts.slowest
    tail = f"; slowest {slowest[0]}, {slowest[1]:.0f} ms after the alias was set" if slowest else ""
    lines = [f"receipts: {len(receipts.milliseconds)}/{len(receipts.workers)}{tail}"]
    if receipts.missing:
        lines.append(f"no receipt in time from: {', '.join(receipts.missing)}")
    if receipts.died:
        lines.append(f"died meanwhile, not awaited: {', '.join(receipts.died)}")
    return lines
