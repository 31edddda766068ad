"""What the simulated provider does with a request: how long it takes, what it says, and what goes wrong."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Literal

Fault = Literal[
    "drop",  # the connection closes before any byte
    "hang",  # no byte ever comes
    "nonsense",  # bytes that are no HTTP
    "half_json",  # a complete response whose JSON is not
    "cut",  # the connection breaks in the middle of the body
    "wrong_type",  # 200 with a page of HTML
    "no_candidates",  # 200 without an answer
    "safety",  # the answer is blocked
    "blocked_prompt",  # the prompt is blocked
    "unended",  # a stream that closes properly, without its last event
    "error_event",  # an error in the middle of a stream
]


@dataclass(frozen=True)
class Behaviour:
    """One way to answer. Times in milliseconds.

    Latency before the first byte is `latency_ms`; with `spread` above 0 it is log-normal around that median. `pieces`:
    how many events a stream has; `pause_ms` lies between them (or between the bytes, with `piece_bytes`).
    `piece_bytes` above 0 sends the body in packets of that size, wherever that cuts.
    """

    text: str = "A simulated answer."
    latency_ms: float = 0.0
    spread: float = 0.0
    status: int = 200
    message: str = "The simulated provider refuses."
    retry_after: str | None = None
    fault: Fault | None = None
    input_tokens: int = 12
    output_tokens: int = 5
    thought_tokens: int = 0
    cached_tokens: int = 0
    pieces: int = 4
    pause_ms: float = 0.0
    piece_bytes: int = 0
    slots: int = 0
    """How many requests are answered at the same time; others wait in line, as at a local model server. 0: no limit."""
    busy_status: int = 0
    """Above 0, a request that finds every slot taken gets this status at once, and does not wait."""
    tool_calls: tuple[tuple[str, str], ...] = ()
    """Name and JSON arguments of each function that the answer asks for, in place of a text."""

    def latency(self) -> float:
        """Seconds before the first byte."""
        if self.spread <= 0:
            return self.latency_ms / 1000
        return self.latency_ms / 1000 * math.exp(random.gauss(0, self.spread))

    def cut_in_pieces(self) -> list[str]:
        """The text as a stream's events say it."""
        size = max(1, math.ceil(len(self.text) / max(1, self.pieces)))
        return [self.text[start : start + size] for start in range(0, len(self.text), size)]
