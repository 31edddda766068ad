"""Builds what a command needs, once, from settings. The command passes these parts on to what it calls.

A command starts only as fast as what it imports. So what not every command needs is imported when it is first used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.adapters.registry import Registry
from mlflow_project.identity import Caller, Identity
from mlflow_project.ledger import Ledger
from mlflow_project.rules.masking import Masker
from mlflow_project.settings import (
    ClientSettings,
    KeySettings,
    LineageSettings,
    LogSettings,
    PromotionSettings,
    RegistrySettings,
    SealSettings,
    ServerSettings,
    StoreSettings,
    load,
)
from mlflow_project.snapshot.folder import ServingFolder
from mlflow_project.telemetry.meters import Meters

if TYPE_CHECKING:
    from mlflow_project.adapters.experiments import Experiments
    from mlflow_project.adapters.model_files import LoggedModels


@dataclass(frozen=True)
class Parts:
    """The clients and settings of one command.

    Attributes:
        registry: MLflow's registry.
        store: the object store.
        ledger: the ledger in that store.
        seal: where the signing key and the trusted keys are.
        receipt_timeout: how many seconds a flip waits for receipts.
        serving: the serving folder of this machine, whether or not a server runs here.
        masker: masks personal data and secrets, by the built-in patterns and by the site's own.
        client: the settings of whoever gives the command: address of the server, API key.
        keys: where API keys are stored.
        caller: who gives the command. The ledger takes no record that this person's roles do not allow.
        on_receipt: called with each worker that confirms a flip, and the milliseconds since the flip.
        meters: takes what the command measures; `commands.bootstrap` sends it when the command ends.
    """

    registry: Registry
    store: ObjectStore
    ledger: Ledger
    seal: SealSettings
    receipt_timeout: float
    serving: ServingFolder
    masker: Masker
    client: ClientSettings
    keys: KeySettings
    caller: Caller
    on_receipt: Callable[[str, float], None] | None = None
    meters: Meters = field(default_factory=Meters)

    @classmethod
    def connect(cls, acting: Identity | None = None, on_receipt: Callable[[str, float], None] | None = None) -> Parts:
        """Read the settings and build the clients. Connects to nothing yet.

        Args:
            acting: the person in whose name a program acts; None: whoever the settings name.
        """
        store, masker = ObjectStore(load(StoreSettings)), Masker(load(LogSettings).mask_patterns)
        client, keys = load(ClientSettings), load(KeySettings)
        caller = Caller(client, keys, acting)
        return cls(
            registry=Registry(load(RegistrySettings)),
            store=store,
            ledger=Ledger.of_this_host(
                store, masker, started_by=load(LineageSettings).started_by(), check=caller.check_record
            ),
            seal=load(SealSettings),
            receipt_timeout=load(PromotionSettings).receipt_timeout,
            serving=ServingFolder(load(ServerSettings).serving_folder),
            masker=masker,
            client=client,
            keys=keys,
            caller=caller,
            on_receipt=on_receipt,
        )

    @cached_property
    def experiments(self) -> Experiments:
        """MLflow's experiments and runs."""
        from mlflow_project.adapters.experiments import Experiments

        return Experiments(self.registry.settings)

    @cached_property
    def models(self) -> LoggedModels:
        """The files of model versions."""
        from mlflow_project.adapters.model_files import LoggedModels

        return LoggedModels(self.registry.settings, self.registry, self.store)

    @property
    def who(self) -> str:
        """Who gives this command, as the ledger names the person: see `identity.current_identity`.

        Raises:
            Refused: the API key in the settings is not valid.
        """
        return self.caller.identity.name
