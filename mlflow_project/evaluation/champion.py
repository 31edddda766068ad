"""Who the champion is: what stands under an alias by the ledger, with the content that was sealed.

In: the ledger, the store, a name. Out: the champion as a release, or None. MLflow is never asked, neither for the alias
nor for the content: whoever rewrites a live version there changes nothing about what a candidate has to face. An
outage is never read as "there is no champion".
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
    """The release that is live under the alias, as it was sealed; None where nothing is.

    Raises:
        InvalidData: the ledger keeps no such alias. SealBroken, NotFound: the sealed manifest was changed or is gone.
        Unavailable: ledger or store do not answer.
    """
    check_known(alias)
    state = ledger.state().of(name)
    standing = state.was if alias == PREVIOUS else state.live.get(alias)
    if standing is None:
        return None
    return Release(standing.version, standing.digest, read_manifest(store, standing.digest))


def check_known(alias: str) -> None:
    """Whether the ledger keeps an alias of this name.

    Raises:
        InvalidData: it does not.
    """
    if alias not in KNOWN:
        raise InvalidData(f"There is no alias {alias!r} to compare with. Choose one of {', '.join(KNOWN)}.")
