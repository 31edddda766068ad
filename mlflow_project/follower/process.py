"""Runs the follower: builds its parts from settings, starts its threads, and ends on SIGTERM.

The main thread looks at registry and ledger. The others write this host's presence, upload its events and counts, and
check the search indexes on its disk, so that none of them waits for another.
"""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time

from mlflow_project.adapters.assessments import Assessments
from mlflow_project.adapters.model_files import fetch_sealed
from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.adapters.registry import Registry
from mlflow_project.adapters.retrieval import index_store
from mlflow_project.follower.counting import CountsPublisher
from mlflow_project.follower.folders import FolderKeeper
from mlflow_project.follower.presence import PresenceKeeper
from mlflow_project.follower.sealed import Fetcher
from mlflow_project.follower.shipping import Shipper
from mlflow_project.follower.watch import Watcher
from mlflow_project.ledger import Ledger
from mlflow_project.rules.masking import Masker
from mlflow_project.settings import (
    EventSettings,
    FollowerSettings,
    LogSettings,
    RegistrySettings,
    SealSettings,
    StoreSettings,
    TelemetrySettings,
    load,
)
from mlflow_project.snapshot.folder import ServingFolder
from mlflow_project.snapshot.spool import Spool
from mlflow_project.snapshot.wake import WakePipe
from mlflow_project.telemetry.meters import Meters
from mlflow_project.telemetry.sending import start

logger = logging.getLogger(__name__)

REGISTRY_SECONDS = 1.0
STORE_SECONDS = 2.0
LOOKS_PER_INTERVAL = 2
"""Each look asks the ledger; every second look asks MLflow too."""
STAMP_SECONDS = 0.1
"""Seconds between two checks of the time stamps of MLflow's database."""
FLIP_LOOK_SECONDS = 0.03
"""Seconds from the beginning of one look to the next while a flip is under way. Such a look asks only for the name of
that flip."""


def follow() -> None:
    """Run until SIGTERM or SIGINT."""
    stop = threading.Event()
    settings = load(FollowerSettings)
    folder = ServingFolder(settings.serving_folder)
    keeper = PresenceKeeper(_store(), folder, host=_host(settings), ttl_seconds=settings.presence_ttl_ms / 1000)
    meters = Meters()
    watcher = _watcher(settings, folder, meters)
    indexes, models = _index_keeper(folder), _model_keeper(folder, watcher)
    watcher.start()
    pipe = WakePipe(folder.wake_pipe)

    def end(*_: object) -> None:
        stop.set()
        pipe.ring()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    sender = start(meters, load(TelemetrySettings), "switchyard-follower")
    counting = CountsPublisher(_store(), folder, host=_host(settings))
    others = [
        threading.Thread(target=counting.run, args=(stop,), name="counts"),
        threading.Thread(target=keeper.run, args=(stop,), name="presence"),
        threading.Thread(target=_shipper(settings, folder).run, args=(stop,), name="events"),
        threading.Thread(target=indexes.run, args=(stop,), name="indexes"),
        threading.Thread(target=models.run, args=(stop,), name="models"),
    ]
    for thread in others:
        thread.start()
    was_rung = False
    while not stop.is_set():
        began = time.monotonic()
        watcher.look(hurry=was_rung)
        indexes.want(watcher.current.indexes, lambda: (name for old in folder.read_earlier() for name in old.indexes))
        models.want(watcher.current.models, lambda: (name for old in folder.read_earlier() for name in old.models))
        pause = settings.poll_ms / 1000 / LOOKS_PER_INTERVAL
        pause = min(pause, FLIP_LOOK_SECONDS) if watcher.flip_under_way else pause
        was_rung = _rest(pipe, watcher, began + pause)
    for thread in others:
        thread.join()
    if sender is not None:
        sender.close()


def _watcher(settings: FollowerSettings, folder: ServingFolder, meters: Meters) -> Watcher:
    registry = load(RegistrySettings)
    registry = registry.model_copy(update={"registry_timeout": min(registry.registry_timeout, REGISTRY_SECONDS)})
    store = _store()
    return Watcher(
        Registry(registry),
        Ledger.of_this_host(store, Masker(load(LogSettings).mask_patterns), cached=False),
        Fetcher(store, folder, load(SealSettings).trusted_keys, meters),
        folder,
        interval_ms=settings.poll_ms,
        identity=f"follower:{_host(settings)}",
        registry_file=settings.registry_file,
    )


def _index_keeper(folder: ServingFolder) -> FolderKeeper:
    store = _store()
    return FolderKeeper("index", lambda name: index_store.fetch(store, name, folder.indexes), folder.indexes)


def _model_keeper(folder: ServingFolder, watcher: Watcher) -> FolderKeeper:
    store = _store()

    def fetch(name: str) -> None:
        manifest = watcher.current.models.get(name)
        if manifest is not None:  # else the snapshot has changed meanwhile, and nobody needs the folder any more
            fetch_sealed(store, manifest, name, folder.models)

    return FolderKeeper("model", fetch, folder.models)


def _shipper(settings: FollowerSettings, folder: ServingFolder) -> Shipper:
    events = load(EventSettings)
    spool = Spool(folder.spool_file, events.event_spool_mb * 1_000_000)
    return Shipper(_store(), spool, Assessments(load(RegistrySettings)), events, host=_host(settings))


def _host(settings: FollowerSettings) -> str:
    return settings.host_name or socket.gethostname()


def _store() -> ObjectStore:
    return ObjectStore(load(StoreSettings), connect_timeout=1.0, read_timeout=STORE_SECONDS)


def _rest(pipe: WakePipe, watcher: Watcher, until: float) -> bool:
    """Sleep until the next look is due, MLflow's database has changed, or somebody rings the pipe. Returns whether
    somebody has rung.
    """
    while not watcher.aliases.has_news and (left := until - time.monotonic()) > 0:
        if pipe.wait(min(left, STAMP_SECONDS) if watcher.aliases.database else left):
            return True
    return False
