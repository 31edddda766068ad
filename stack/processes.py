"""`up`, `down` and `clean` of the local stack. In: the state folder. Out: running parts, or a sentence why not.

Each part is asked until it answers. Settings, tools and ports are checked before the first process starts, so a
mistake there leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from mlflow_project.adapters.airflow import AirflowSettings
from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.adapters.providers.endpoints import Endpoints
from mlflow_project.errors import ConfigError, Unavailable
from mlflow_project.private_files import exclusive, write_private
from mlflow_project.seal.keys import ensure_key
from mlflow_project.settings import MISSING, ProviderSettings, SealSettings, StoreSettings, check_all, load
from stack.addresses import StackSettings, read_environment, read_settings, write_environment
from stack.airflow import processes as airflow
from stack.airflow.home import AirflowPort
from stack.credentials import check_commands_are_no_administrator, minio_credentials
from stack.ingest import processes as ingest
from stack.layout import jar_folder, minio_binary
from stack.marks import end
from stack.minio_users import User, make_users, user_of
from stack.observe import processes as observe
from stack.ports import check_free
from stack.readiness import PARTS, addresses, wait_until_ready
from stack.spark_conf import remove_spark_conf, write_spark_conf
from stack.status import describe
from stack.supervision import Supervisor

Say = Callable[[str], None]

SETTINGS = (StackSettings, observe.ObserveSettings, ingest.IngestPorts, AirflowPort, AirflowSettings)
"""The settings of the programs beside the library's own."""

_ALIVE = {"STARTING", "RUNNING", "BACKOFF", "EXITED"}
"""States from which a part gets back to running: supervisord starts again what exited."""


def up(state: Path, parts: Sequence[str] = PARTS, *, say: Say) -> None:
    """Start these parts unless they run, and wait until each is ready.

    Raises:
        ConfigError: wrong settings, a taken port, set-up not done; nothing was started.
        Unavailable: a part does not become ready; the message ends with its log's last lines.
    """
    with _alone(state):
        supervisor = Supervisor(state)
        _check_settings()
        _end_orphans(supervisor, say)
        if supervisor.processes() and _provider_mark() != _marked(state):
            say("The settings of the outside language models have changed: the stack starts again with them.")
            supervisor.stop()
        running = {name for name, row in supervisor.processes().items() if row["statename"] in _ALIVE}
        missing = [part for part in parts if part not in running]
        if missing:
            environment = _prepare(state, supervisor, missing)
            _start(supervisor, environment, missing, say)
        else:
            say("The stack is up already.")
        for part in parts:
            _await(supervisor, part, read_environment(state), say if missing else _silent)


def down(state: Path, *, say: Say) -> None:
    """Stop everything of this stack: Airflow, observability, ingestion, the six parts, orphans. Stopping nothing is
    fine."""
    supervisor = Supervisor(state)
    running = len(supervisor.marked())
    _end_orphans(supervisor, say)
    airflow.stop(state)
    observe.down(state)
    ingest.down(state)
    supervisor.stop()
    say(f"Stopped: {running} processes." if running else "Nothing was running.")


def _end_orphans(supervisor: Supervisor, say: Say) -> None:
    """End the processes of this stack that no process manager watches any more, and name them."""
    if found := supervisor.orphans():
        names = ", ".join(describe(process) for process in found)
        say(
            f"A part or the process manager was killed and left {len(found)} processes behind: {names}. They are ended."
        )
        end(found)


def clean(state: Path, *, say: Say) -> None:
    """Stop everything and remove the state folder: data, credentials, logs."""
    down(state, say=say)
    remove_spark_conf(state)
    if state.exists():
        shutil.rmtree(state)
        say(f"Removed {state}.")


def log_files(state: Path, part: str | None) -> list[Path]:
    """Return the log files of one part, or of all.

    Raises:
        ConfigError: there is no such part, or nothing was ever started here.
    """
    if part is not None and part not in PARTS:
        raise ConfigError(f"There is no part {part!r}: the parts are {', '.join(PARTS)}.")
    files = [state / "logs" / f"{name}.log" for name in ([part] if part else PARTS)]
    found = [file for file in files if file.exists()]
    if not found:
        raise ConfigError(f"There is no log in {state}/logs: nothing was started yet (`make up`).")
    return found


def _prepare(state: Path, supervisor: Supervisor, parts: Sequence[str]) -> dict[str, str]:
    """Check all that can be checked, write the files that the parts read, and start the process manager."""
    if supervisor.processes():
        check_free(read_settings(state), parts)
        return read_environment(state)
    credentials = minio_credentials(state)
    settings = read_settings(state)
    check_commands_are_no_administrator(settings.s3_access_key.get_secret_value(), credentials)
    if not minio_binary().exists() or not jar_folder().exists():
        raise ConfigError(
            "MinIO and the jars are not here yet: `make demo` and `make test` set them up, `make setup` too."
        )
    check_free(settings, parts)
    environment = write_environment(state, settings)
    store = StoreSettings(**_store_values(environment))
    write_spark_conf(state, store, jar_folder())
    ensure_key(load(SealSettings))
    write_private(_mark_file(state), _provider_mark())
    supervisor.launch({**_child_environment(environment, settings.mlflow_backend, store), **credentials})
    return environment


def _check_settings() -> None:
    """Report every wrong setting in one message. The store's credentials may be missing: the first `up` makes them.

    Raises:
        ConfigError: a setting, or the file of endpoints, is wrong.
    """
    mistakes = [line for line in check_all(*SETTINGS) if not line.endswith(f"_KEY: {MISSING}")]
    if not mistakes:
        Endpoints(load(ProviderSettings))
    if mistakes:
        raise ConfigError("\n".join(["Settings are wrong; nothing was started:", *mistakes]))


def _provider_mark() -> str:
    """Return a digest of every endpoint's address and key. A running server knows only those that it started with."""
    settings = load(ProviderSettings)
    key = settings.llm_api_key.get_secret_value() if settings.llm_api_key else ""
    parts = [settings.llm_api_url, key]
    if settings.providers_file is not None:
        endpoints = Endpoints(settings)
        parts.append(settings.providers_file.read_text(encoding="utf-8"))
        parts += [str(endpoints.key_or_reason(name)) for name in endpoints.names]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _mark_file(state: Path) -> Path:
    return state / "provider.sha256"


def _marked(state: Path) -> str | None:
    return _mark_file(state).read_text(encoding="utf-8") if _mark_file(state).exists() else None


def _start(supervisor: Supervisor, environment: Mapping[str, str], parts: Sequence[str], say: Say) -> None:
    if "minio" in parts:
        supervisor.start("minio")
        _await(supervisor, "minio", environment, _silent)
        set_up_minio(supervisor.state, StoreSettings(**_store_values(environment)))
    for part in parts:
        supervisor.start(part)


def _await(supervisor: Supervisor, part: str, environment: Mapping[str, str], say: Say) -> None:
    def alive() -> bool:
        return supervisor.processes().get(part, {}).get("statename") in _ALIVE

    seconds = wait_until_ready(part, environment, alive)
    if seconds is None:
        log = supervisor.state / "logs" / f"{part}.log"
        tail = log.read_text(errors="replace").splitlines()[-15:] if log.exists() else ["(no log)"]
        raise Unavailable(
            "\n  ".join([f"{part} does not become ready. `make logs` shows more; the end of {log}:", *tail])
        )
    say(f"{part:9} ready  {addresses(environment)[part]}")


def set_up_minio(state: Path, store: StoreSettings) -> None:
    """By MinIO's administrator: the buckets, and the users that commands, follower and MLflow are."""
    credentials = minio_credentials(state)
    users = [user_of(role, credentials) for role in ("follower", "mlflow")]
    _by_administrator(store, user_of("admin", credentials), users)


def _by_administrator(store: StoreSettings, administrator: User, users: list[User]) -> None:
    own = {"s3_access_key": SecretStr(administrator.access_key), "s3_secret_key": administrator.secret_key}
    admin_store = store.model_copy(update=own)
    make_buckets(admin_store)
    commands = User("commands", store.s3_access_key.get_secret_value(), store.s3_secret_key)
    make_users(admin_store, [commands, *users])


def prepare_store(store: StoreSettings) -> bool:
    """Buckets and users in a MinIO that runs elsewhere, by `SWITCHYARD_S3_<ROLE>_ACCESS_KEY` and `…_SECRET_KEY` in the
    environment; False: no administrator is named there, so the buckets were made with the commands' credentials.
    """
    given = {
        role for role in ("admin", "follower", "mlflow") if os.environ.get(f"SWITCHYARD_S3_{role.upper()}_ACCESS_KEY")
    }
    if "admin" not in given:
        make_buckets(store)
        return False
    administrator, *users = (user_of(role, os.environ) for role in ("admin", "follower", "mlflow") if role in given)
    check_commands_are_no_administrator(store.s3_access_key.get_secret_value(), os.environ)
    _by_administrator(store, administrator, users)
    return True


def make_buckets(store: StoreSettings) -> None:
    """Make the buckets that are missing: five with versions, the ledger's with object lock too, and the unversioned one
    for coordination."""
    objects = ObjectStore(store)
    for bucket in (store.raw_bucket, store.curated_bucket, store.models_bucket, store.artifacts_bucket):
        objects.ensure_bucket(bucket)
    objects.ensure_bucket(store.ledger_bucket, locked=True)
    objects.ensure_bucket(store.coordination_bucket, versioned=False)


def _store_values(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings of the local store, whatever store the other settings name."""
    names = ("s3_endpoint", "s3_console", "s3_access_key", "s3_secret_key")
    return {name: environment[f"SWITCHYARD_{name.upper()}"] for name in names}


def _child_environment(environment: Mapping[str, str], backend: Any, store: StoreSettings) -> dict[str, str]:
    """Return the environment of supervisord and its parts."""
    state = environment["SWITCHYARD_STATE"]
    database = "" if backend else f"{state}/mlflow.db"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    own = {name: value for name, value in environment.items() if not name.startswith("MLFLOW_")}
    return {
        **inherited,
        **own,
        "SWITCHYARD_MINIO": str(minio_binary()),
        "SWITCHYARD_MODELS_BUCKET": store.models_bucket,
        "MLFLOW_BACKEND_STORE_URI": backend.get_secret_value() if backend else f"sqlite:///{database}",
        "SWITCHYARD_REGISTRY_FILE": database,
        "PYTHONUNBUFFERED": "1",
    }


@contextlib.contextmanager
def _alone(state: Path) -> Iterator[None]:
    """Let one `up` at a time work on a state folder; a second one waits. The folder is its owner's alone, also where an
    earlier version made it for all to read."""
    with exclusive(state / "up"):
        state.chmod(0o700)
        yield


def _silent(_: str) -> None:
    """Take a line of progress and drop it."""
