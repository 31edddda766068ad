"""What a caller may use up in a window of time: requests, tokens, US dollars; written as `60/minute` or `2.50/day`.

In: texts from the settings and from API keys. Out: windows of the library `limits`; dollars become millionths, since a
window counts in whole numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from limits import RateLimitItem, parse_many

from mlflow_project.errors import InvalidData

KINDS = ("requests", "tokens", "usd")
MILLIONTHS = 1_000_000
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)(?=\s*(?:/|per\b))")


def windows(allowed: Mapping[str, str]) -> dict[str, tuple[RateLimitItem, ...]]:
    """The windows of each kind; several are separated by `;`, as in `10/second; 300/minute`.

    Raises:
        InvalidData: there is no such kind, or its text is no amount in a time.
    """
    if unknown := sorted(allowed.keys() - set(KINDS)):
        raise InvalidData(f"There is no limit of {', '.join(unknown)}. Choose among {', '.join(KINDS)}.")
    return {kind: _windows(kind, text) for kind, text in allowed.items() if text}


def _windows(kind: str, text: str) -> tuple[RateLimitItem, ...]:
    scale = MILLIONTHS if kind == "usd" else 1
    try:
        found = parse_many(_AMOUNT.sub(lambda match: str(round(float(match[1]) * scale)), text))
    except ValueError as error:
        raise InvalidData(
            f"{text!r} does not limit {kind}: write an amount in a time, as in `60/minute`, `1000 per 5 minutes` or "
            "`10/second; 300/minute`."
        ) from error
    if any(window.amount < 1 for window in found):
        raise InvalidData(f"{text!r} would refuse every request: the amount of {kind} must be above 0.")
    return tuple(found)
