"""The parts that every command about releases needs, built once from settings and passed on."""

from __future__ import annotations

from dataclasses import dataclass

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.adapters.registry import Registry
from mlflow_project.ledger import Ledger
from mlflow_project.settings import (
    PromotionSettings,
    RegistrySettings,
    SealSettings,
    ServerSettings,
    StoreSettings,
    load,
)
from mlflow_project.snapshot.folder import ServingFolder


@dataclass(frozen=True)
class Parts:
    """Registry, object store, ledger, and where the keys lie. `receipt_timeout` is in seconds; `serving` is the folder
    of the server on this machine, whether or not one runs."""

    registry: Registry
    store: ObjectStore
    ledger: Ledger
    seal: SealSettings
    receipt_timeout: float
    serving: ServingFolder

    @classmethod
    def connect(cls) -> Parts:
        """From the settings. Connects to nothing yet."""
        store = ObjectStore(load(StoreSettings))
        return cls(
            registry=Registry(load(RegistrySettings)),
            store=store,
            ledger=Ledger.of_this_host(store),
            seal=load(SealSettings),
            receipt_timeout=load(PromotionSettings).receipt_timeout,
            serving=ServingFolder(load(ServerSettings).serving_folder),
        )
