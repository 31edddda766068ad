"""Who the champion is: what is live in Production by the ledger; by MLflow's alias as long as the ledger says nothing.

In: a name, and two ways to look. Out: the champion's version number, or None. An outage is never read as "no champion".
"""

from __future__ import annotations

from collections.abc import Callable

from mlflow_project.adapters.registry import Registry
from mlflow_project.ledger.ledger import Ledger

Champion = Callable[[str], int | None]
"""From a name to the version that is live under the alias, or None."""


def champion_by(ledger: Ledger, registry: Registry, alias: str = "Production") -> Champion:
    """The way to look that the commands use."""

    def champion(name: str) -> int | None:
        live = ledger.state().of(name).live.get(alias)
        if live is not None:
            return live.version
        entry = registry.entry(name)
        return entry.aliases.get(alias) if entry else None

    return champion
