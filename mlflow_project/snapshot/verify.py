"""A snapshot is believed only after its digests and seals were checked again, by whoever loads it.

In: the serving folder and the folder of trusted keys. Out: a snapshot in which every live release holds. Where the file
or one of its releases does not hold, the release from the snapshots before it takes that place.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from mlflow_project.errors import InvalidData, NotFound, SealBroken
from mlflow_project.rules.canonical import manifest_digest
from mlflow_project.seal.keys import load_trusted
from mlflow_project.seal.seal import verify as verify_envelope
from mlflow_project.seal.statement import Statement
from mlflow_project.snapshot.content import Placed, RefusedRelease, Snapshot
from mlflow_project.snapshot.folder import ServingFolder
from mlflow_project.telemetry.catalogue import SEAL_CHECKS
from mlflow_project.telemetry.meters import Meters

logger = logging.getLogger(__name__)


def verify(placed: Placed, trusted: Path, meters: Meters | None = None) -> Statement:
    """Check a release, and count the check where there are meters. Returns what its seal states. Raises as `_check`."""
    outcome = "broken"
    try:
        statement = _check(placed, trusted)
        outcome = "holds"
        return statement
    finally:
        if meters is not None:
            meters.record(SEAL_CHECKS, 1, release=placed.release.label, outcome=outcome)


def _check(placed: Placed, trusted: Path) -> Statement:
    """Check that the manifest has the digest it goes by, and that a valid seal names exactly this release.

    Raises:
        SealBroken: it does not hold; the message says what.
    """
    label = f"{placed.name}/{placed.version}"
    present = manifest_digest(placed.manifest)
    if present != placed.digest:
        raise SealBroken(f"The manifest of {label} was changed: its digest is {present}, it goes by {placed.digest}.")
    seal = verify_envelope(placed.envelope, load_trusted(trusted), placed.recorded)
    if (seal.name, seal.version, seal.digest) != (placed.name, placed.version, placed.digest):
        raise SealBroken(
            f"The seal of {label} is for {seal.name}/{seal.version} with digest {seal.digest}, not for {placed.digest}."
        )
    return seal


def load_verified(folder: ServingFolder, trusted: Path, meters: Meters | None = None) -> Snapshot:
    """The snapshot on disk, with every release in it verified.

    A release that does not hold is refused, and the release that the earlier snapshots had under its alias serves in
    its place. The same goes for an alias that is missing from the snapshot.

    Raises:
        NotFound: no snapshot was written yet. InvalidData: it is damaged, and so are those before it.
    """
    earlier = [_holding(snapshot, trusted, meters)[0] for snapshot in folder.read_earlier()]
    try:
        snapshot, refused = _holding(folder.read_snapshot(), trusted, meters)
    except (InvalidData, NotFound) as error:
        if not earlier:
            raise
        logger.error("the snapshot is damaged; the one before it serves", extra={"error": str(error)})
        snapshot, refused = earlier.pop(0), []
    for each in earlier:
        snapshot = snapshot.with_lost(each)
    return replace(snapshot, refused=(*snapshot.refused, *refused))


def _holding(snapshot: Snapshot, trusted: Path, meters: Meters | None) -> tuple[Snapshot, list[RefusedRelease]]:
    """A snapshot without the live releases that do not hold, and these as refusals."""
    broken = {placed: why for placed in snapshot.live if (why := _why_broken(placed, trusted, meters)) is not None}
    refused = [
        RefusedRelease(
            placed.manifest.kind, placed.name, placed.alias, placed.version, placed.digest, why, "broken_seal"
        )
        for placed, why in broken.items()
    ]
    return replace(snapshot, live=tuple(placed for placed in snapshot.live if placed not in broken)), refused


def _why_broken(placed: Placed, trusted: Path, meters: Meters | None) -> str | None:
    try:
        verify(placed, trusted, meters)
    except SealBroken as error:
        return str(error)
    return None
