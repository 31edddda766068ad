"""A rollout moves traffic to a new release in steps. Each request belongs to one arm of it."""

from __future__ import annotations

from typing import Literal

Arm = Literal["production", "canary", "baseline"]
"""`canary`: the request goes to the new release. `baseline`: it goes to the old one, and is compared with the canary.
`production`: any other request, also when no rollout is under way."""
