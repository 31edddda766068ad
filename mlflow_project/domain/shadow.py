"""A shadow: a release that gets copies of a share of the requests for `Production`, and whose answers nobody sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from mlflow_project.errors import InvalidData


@dataclass(frozen=True)
class ShadowLimits:
    """How much a shadow may ask, on each host.

    Attributes:
        share: of the requests that are copied, above 0, at most 1.
        per_second: requests in a second.
        usd_per_day: what its answers may cost in a day; None: as much as they cost.
    """

    share: float
    per_second: int = 5
    usd_per_day: float | None = None

    @classmethod
    def from_dict(cls, data: Any) -> ShadowLimits:
        """Read what `to_dict` wrote. Fields that this version does not know are passed over.

        Raises:
            InvalidData: a field is missing or out of its bounds.
        """
        if not isinstance(data, Mapping):
            raise InvalidData(f"The limits of a shadow are a JSON object, not {data!r}.")
        found = {each.name: data.get(each.name, each.default) for each in fields(cls)}
        share, per_second, usd = found["share"], found["per_second"], found["usd_per_day"]
        if not _is_number(share) or not 0 < share <= 1:
            raise InvalidData(f"A shadow's share is above 0 and at most 1 (100%), not {share!r}.")
        if type(per_second) is not int or not 1 <= per_second <= 1_000:
            raise InvalidData(f"A shadow's rate is a whole number from 1 to 1000 a second, not {per_second!r}.")
        if usd is not None and (not _is_number(usd) or not 0.000001 <= usd <= 1e9):
            raise InvalidData(f"A shadow's budget is an amount of USD above 0, not {usd!r}.")
        return cls(**found)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


@dataclass(frozen=True)
class Shadow:
    """A shadow as the ledger has it. `id` is the serial of the record that began it."""

    id: int
    version: int
    digest: str
    limits: ShadowLimits
    since: str
    who: str
    why: str


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
