"""Finds the champion: the release that is live under an alias according to the ledger, with its sealed content.

In: the ledger, the store, a name. Out: the champion as a release, or None. Neither alias nor content are read from
MLflow, so nobody can change there what a candidate is compared with. An outage raises; it never means "no champion".
"""

from __future__ import annotations

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.adapters.releases import read_manifest
from mlflow_project.domain.release import Release
from mlflow_project.errors import InvalidData
from mlflow_project.ledger import Ledger
from mlflow_project.ledger.observe import PREVIOUS
from mlflow_project.ledger.state import SERVED_ALIASES

KNOWN = (*SERVED_ALIASES, PREVIOUS)


def champion(ledger: Ledger, store: ObjectStore, name: str, alias: str) -> Release | None:
    """The release that is live under the alias, as it was sealed; None if nothing is live.

    Raises:
        InvalidData: the ledger has no such alias. SealBroken, NotFound: the sealed manifest was changed or is missing.
        Unavailable: the ledger or the store does not answer.
    """
    check_known(alias)
    state = ledger.state().of(name)
    live = state.was if alias == PREVIOUS else state.live.get(alias)
    if live is None:
        return None
    return Release(live.version, live.digest, read_manifest(store, live.digest))


def check_known(alias: str) -> None:
    """Check that the ledger has an alias of this name.

    Raises:
        InvalidData: it has none.
    """
    if alias not in KNOWN:
        raise InvalidData(f"There is no alias {alias!r} to compare with. Choose one of {', '.join(KNOWN)}.")
