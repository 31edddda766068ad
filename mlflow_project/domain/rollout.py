"""A rollout moves the traffic of one name to a new release in steps. Each request belongs to one arm of it.

In: the ledger's record that opens a rollout, and units such as session ids. Out: a `Rollout`, and the arm of a unit.
`hash = first 8 bytes of SHA-256(salt|unit) / 2**64` places a unit between 0 and 1. Units below the share are the
canary; as many units at the upper end are the baseline. So a larger share only adds units to the canary.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal, get_args

from mlflow_project.domain.record import LedgerRecord
from mlflow_project.errors import InvalidData

Arm = Literal["production", "canary", "baseline"]
"""`canary`: the request goes to the new release. `baseline`: it goes to the old one, and is compared with the canary.
`production`: any other request, also when no rollout is under way."""

Unit = Literal["session", "user", "key", "request"]
"""What stays on one arm: the sessions of `X-Session-Id`, OpenAI's `user`, the owner of an API key, or each request. A
request that does not name its session, user or key counts as a unit of its own."""

CANARY = "Canary"
"""The alias of a rollout's new release."""
USUAL_STEPS = "1%,5%,25%,100%"
"""The steps of a rollout that names none."""
MOST_STEPS = 1_000
_UNIT_RANGE = 2**64
_SHARE = re.compile(r"(\d{1,3}(?:\.\d{1,4})?)\s*%", re.ASCII)
_TIME = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s*(s|m|h|d)", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_SALT = re.compile(r"[0-9a-f]{8,64}", re.ASCII)


def arm_of(salt: str, unit: str, share: float) -> Arm:
    """The arm of a unit while the canary has this share of the units (0 to 1)."""
    hashed = int.from_bytes(hashlib.sha256(f"{salt}|{unit}".encode()).digest()[:8], "big") / _UNIT_RANGE
    if hashed < share:
        return "canary"
    return "baseline" if hashed >= 1 - min(share, 1 - share) else "production"


@dataclass(frozen=True)
class Plan:
    """How a rollout proceeds: rising shares, the seconds per step (None: a person takes each step), and the unit.
    `guard` is the policy that judges between steps; None: nobody judges.
    """

    steps: tuple[float, ...]
    seconds: float | None = None
    unit: Unit = "session"
    guard: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        _check_steps(self.steps)
        if self.seconds is not None and not 0 < self.seconds < 1e9:
            raise InvalidData(f"A step takes a time above zero, such as 10m, and not {self.seconds!r} s.")
        if self.unit not in get_args(Unit):
            raise InvalidData(f"{self.unit!r} is no unit of a rollout: choose {', '.join(get_args(Unit))}.")
        if self.guard is not None and not isinstance(self.guard, Mapping):
            raise InvalidData("The guard's policy of a rollout must be a mapping.")


@dataclass(frozen=True)
class Rollout:
    """A rollout under way, as the ledger has it.

    Attributes:
        id: the serial of the record that opened it.
        version: of the new release, the canary; `digest` likewise.
        baseline_version: of the release that was live when the rollout began; `baseline_digest` likewise.
        share: of the units that the canary has now, 0 to 1; 0: it is being warmed and checked.
        step_since: when the present step began; counted anew after a hold. UTC in ISO 8601, like `opened`.
        held: whether no step is taken until somebody resumes; `held_why` says who holds it and why.
    """

    id: int
    kind: str
    name: str
    version: int
    digest: str
    baseline_version: int
    baseline_digest: str
    plan: Plan
    salt: str
    who: str
    why: str
    opened: str
    step_since: str
    share: float = 0.0
    held: bool = False
    held_why: str = ""

    @property
    def label(self) -> str:
        """Name and version of the canary, as in `qa/3`."""
        return f"{self.name}/{self.version}"

    @property
    def steps(self) -> tuple[float, ...]:
        return self.plan.steps

    @property
    def seconds(self) -> float | None:
        return self.plan.seconds

    @property
    def unit(self) -> Unit:
        return self.plan.unit

    @property
    def guard(self) -> Mapping[str, Any] | None:
        return self.plan.guard

    @property
    def next_share(self) -> float | None:
        """The share of the next step; None: the last one is reached."""
        return next((share for share in self.steps if share > self.share), None)

    def describe(self) -> str:
        """One sentence: who is rolling out what, how far."""
        how = f"held at {percent(self.share)}" if self.held else f"at {percent(self.share)}"
        return f"{self.who} is rolling out {self.label} since {self.opened} (record {self.id}), {how}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; the fields of the plan beside the others."""
        data = asdict(self)
        return {**data, **data.pop("plan"), "next_share": self.next_share}

    def evidence(self) -> dict[str, Any]:
        """What the record that opens the rollout holds of it, besides its own fields."""
        plan = {**asdict(self.plan), "steps": list(self.steps)}
        return {**plan, "salt": self.salt, "baseline_digest": self.baseline_digest}

    @classmethod
    def from_record(cls, record: LedgerRecord) -> Rollout:
        """The rollout that a record of type `rollout` opens.

        Raises:
            InvalidData: the record lacks something, or its plan is none.
        """
        evidence = record.evidence
        steps, digest = evidence.get("steps"), evidence.get("baseline_digest")
        salt, seconds = evidence.get("salt"), evidence.get("seconds")
        whole = isinstance(digest, str) and isinstance(steps, Sequence) and not isinstance(steps, str)
        if not whole or record.version is None or record.digest is None or record.from_version is None:
            raise InvalidData(f"Record {record.serial} opens a rollout without version, baseline or steps.")
        if not isinstance(salt, str) or _SALT.fullmatch(salt) is None or not (seconds is None or _is_number(seconds)):
            raise InvalidData(f"Record {record.serial} opens a rollout with a salt or a time that is none.")
        plan = Plan(tuple(steps), seconds, str(evidence.get("unit")), evidence.get("guard"))  # type: ignore[arg-type]
        return cls(
            id=record.serial,
            kind=record.kind,
            name=record.name,
            version=record.version,
            digest=record.digest,
            baseline_version=record.from_version,
            baseline_digest=str(digest),
            plan=plan,
            salt=salt,
            who=record.who,
            why=record.why,
            opened=record.time,
            step_since=record.time,
        )


def read_steps(text: str) -> tuple[float, ...]:
    """Read `1%,5%,25%,100%`.

    Raises:
        InvalidData: a step is no share, or they do not rise.
    """
    found = [_SHARE.fullmatch(part.strip()) for part in text.split(",")]
    if not all(found):
        raise InvalidData(f"Cannot read {text!r} as steps. Write rising shares with a percent sign: 1%,5%,25%,100%.")
    steps = tuple(round(float(match[1]) / 100, 6) for match in found if match)
    _check_steps(steps)
    return steps


def read_seconds(text: str) -> float:
    """Read a time such as `30s`, `10m` or `2h`, in seconds.

    Raises:
        InvalidData: it is none, or zero.
    """
    match = _TIME.fullmatch(text.strip())
    if match is None or float(match[1]) == 0:
        raise InvalidData(f"Cannot read {text!r} as a time. Write a number and a unit: 30s, 10m, 2h or 1d.")
    return float(match[1]) * _SECONDS[match[2]]


def percent(share: float) -> str:
    """A share as people write it: 0.05 is `5 %`."""
    return f"{100 * share:g} %"


def _check_steps(steps: Sequence[float]) -> None:
    if not 1 <= len(steps) <= MOST_STEPS:
        raise InvalidData(f"A rollout has 1 to {MOST_STEPS:,} steps, not {len(steps):,}.")
    if not all(_is_number(share) and 0 < share <= 1 for share in steps):
        raise InvalidData("Each step of a rollout is a share above 0 % and at most 100 %.")
    if any(after <= before for before, after in pairwise(steps)):
        shown = ", ".join(map(percent, steps))
        raise InvalidData(f"The steps of a rollout must rise, and {shown} do not: nobody goes back on the way up.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
