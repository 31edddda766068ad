"""The snapshot itself: which release is live under which alias, which are to be warmed, which were refused and why.

In and out: `to_dict` and `from_dict`, schema `switchyard.snapshot/v1`. Pure data: reading files is `folder`'s, checking
digests and seals is `verify`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

from mlflow_project.domain.refusal import Cause
from mlflow_project.domain.release import Manifest, Release
from mlflow_project.domain.rollout import CANARY, Plan, Rollout, Unit
from mlflow_project.domain.shadow import ShadowLimits
from mlflow_project.errors import InvalidData

SNAPSHOT_SCHEMA = "switchyard.snapshot/v1"


@dataclass(frozen=True)
class Placed:
    """A sealed release under an alias. Times are UTC in ISO 8601: `recorded`, when the ledger recorded its seal;
    `since`, when it became live on this host, "" while warming.
    """

    alias: str
    version: int
    digest: str
    manifest: Manifest = field(hash=False)
    envelope: Mapping[str, Any] = field(hash=False)
    recorded: str
    since: str = ""

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def key(self) -> tuple[str, str]:
        """Name and alias: what at most one live release has."""
        return self.manifest.name, self.alias

    @cached_property
    def release(self) -> Release:
        return Release(self.version, self.digest, self.manifest)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "alias": self.alias,
            "version": self.version,
            "digest": self.digest,
            "manifest": self.manifest.to_dict(),
            "envelope": dict(self.envelope),
            "recorded": self.recorded,
            "since": self.since,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Placed:
        """Read what `to_dict` wrote.

        Raises:
            InvalidData, TypeError, KeyError: a field is missing, unknown or of the wrong type.
        """
        placed = cls(**{**data, "manifest": Manifest.from_dict(data["manifest"])})
        texts = (placed.alias, placed.digest, placed.recorded, placed.since, placed.manifest.name)
        if not all(isinstance(text, str) for text in texts) or not isinstance(placed.version, int):
            raise TypeError("alias, digest and times are texts, and a version is a whole number")
        if not isinstance(placed.envelope, Mapping):
            raise TypeError("an envelope is an object")
        return placed


@dataclass(frozen=True)
class PlacedShadow:
    """A sealed release that gets copies of requests. `id` is the serial of the record that began the shadow."""

    id: int
    limits: ShadowLimits
    release: Placed

    @property
    def name(self) -> str:
        return self.release.name

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"id": self.id, "limits": self.limits.to_dict(), "release": self.release.to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PlacedShadow:
        """Read what `to_dict` wrote. Raises as `Placed.from_dict`."""
        return cls(int(data["id"]), ShadowLimits.from_dict(data["limits"]), Placed.from_dict(data["release"]))


@dataclass(frozen=True)
class RefusedRelease:
    """What an alias asked for and does not get; `reason` is a sentence, `cause` its kind. `digest` is None where the
    content could not be read."""

    kind: str
    name: str
    alias: str
    version: int
    digest: str | None
    reason: str
    cause: Cause = "unknown"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, in the form that `GET /releases` shows."""
        return asdict(self)


@dataclass(frozen=True)
class Split:
    """How the requests for `Production` of a name are divided while a rollout is under way.

    Attributes:
        rollout: the id of the rollout.
        share: of the units that the canary answers, 0 to 1.
        version: of the canary; `digest` likewise.
        baseline_digest: of the release that must be live in `Production`, or nothing is divided.
    """

    name: str
    rollout: int
    salt: str
    share: float
    unit: Unit
    version: int
    digest: str
    baseline_digest: str

    @classmethod
    def of(cls, rollout: Rollout) -> Split:
        """The split that a rollout asks for at its present step."""
        return cls(
            rollout.name,
            rollout.id,
            rollout.salt,
            rollout.share,
            rollout.unit,
            rollout.version,
            rollout.digest,
            rollout.baseline_digest,
        )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Split:
        """Read what `asdict` wrote.

        Raises:
            InvalidData, TypeError: a field is missing, unknown or out of its bounds.
        """
        split = cls(**data)
        texts = (split.name, split.salt, split.digest, split.baseline_digest)
        numbers = (split.rollout, split.version)
        if not all(isinstance(text, str) for text in texts) or not all(type(number) is int for number in numbers):
            raise TypeError("a split has texts and whole numbers")
        if not isinstance(split.share, int | float) or not 0 <= split.share <= 1:
            raise TypeError("a share is a number from 0 to 1")
        Plan((1.0,), unit=split.unit)
        return split


@dataclass(frozen=True)
class Snapshot:
    """All that this host serves, warms and refuses at one moment, and how rollouts divide requests."""

    live: tuple[Placed, ...] = ()
    warm: tuple[Placed, ...] = ()
    refused: tuple[RefusedRelease, ...] = field(default=())
    shadows: tuple[PlacedShadow, ...] = ()
    splits: tuple[Split, ...] = ()

    @property
    def indexes(self) -> frozenset[str]:
        """The digests of the search indexes that its releases need."""
        bases = (placed.manifest.knowledge_base for placed in self._releases)
        return frozenset(base.index for base in bases if base is not None)

    @property
    def models(self) -> dict[str, Manifest]:
        """The manifests of its models by the digests of their releases."""
        return {placed.digest: placed.manifest for placed in self._releases if placed.manifest.kind == "model"}

    @property
    def _releases(self) -> tuple[Placed, ...]:
        return (*self.live, *self.warm, *(shadow.release for shadow in self.shadows))

    def with_lost(self, before: Snapshot) -> Snapshot:
        """This snapshot, and what an earlier one served under names and aliases that this one no longer mentions.

        The follower takes no alias but `Canary` out of a snapshot: a release stays live until another verified release
        takes its place. So another alias that is missing was lost from the file, and the earlier release goes on.
        """
        named = {placed.key for placed in self.live}
        lost = tuple(placed for placed in before.live if placed.key not in named and placed.alias != CANARY)
        return replace(self, live=(*self.live, *lost)) if lost else self

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "schema": SNAPSHOT_SCHEMA,
            "live": [placed.to_dict() for placed in self.live],
            "warm": [placed.to_dict() for placed in self.warm],
            "refused": [refused.to_dict() for refused in self.refused],
            "shadows": [shadow.to_dict() for shadow in self.shadows],
            "splits": [asdict(split) for split in self.splits],
        }

    @classmethod
    def from_dict(cls, data: Any) -> Snapshot:
        """Read a snapshot.

        Raises:
            InvalidData: not of this schema, or a field is missing or unknown.
        """
        if not isinstance(data, dict) or data.get("schema") != SNAPSHOT_SCHEMA:
            raise InvalidData(f"A snapshot says schema {SNAPSHOT_SCHEMA!r}; this file does not.")
        try:
            return cls(
                live=tuple(Placed.from_dict(item) for item in data["live"]),
                warm=tuple(Placed.from_dict(item) for item in data["warm"]),
                refused=tuple(RefusedRelease(**item) for item in data["refused"]),
                shadows=tuple(PlacedShadow.from_dict(item) for item in data.get("shadows", ())),
                splits=tuple(Split.from_dict(item) for item in data.get("splits", ())),
            )
        except (TypeError, KeyError, AttributeError) as error:
            raise InvalidData(f"This snapshot cannot be read: {error!r}.") from error
