"""The doctor's second half, for the installed environment: settings, ports, and whether each part answers."""

from __future__ import annotations

from collections.abc import Iterator

from mlflow_project.adapters.providers.endpoints import Endpoints
from mlflow_project.errors import ConfigError
from mlflow_project.settings import MISSING, ProviderSettings, check_all, load, state_folder
from stack.addresses import StackSettings, read_settings
from stack.check import Check
from stack.ports import OWNERS, holder, is_free, wanted_ports
from stack.readiness import PARTS
from stack.status import status


def examine_parts() -> list[Check]:
    """Settings first; ports and parts only when those can be read."""
    state = state_folder()
    try:
        settings = read_settings(state)
    except ConfigError as error:
        return [Check("settings", False, str(error), "no mistake", "Mend what the lines name.")]
    rows = {row["part"]: row for row in status(state)}
    running = {part for part, row in rows.items() if row["pid"]}
    return [
        _settings(bool(running)),
        *_endpoints(),
        *_ports(settings, running),
        *(_part(row["part"], row["ready"], row["state"], part_running=bool(running)) for row in rows.values()),
    ]


def _settings(stack_is_up: bool) -> Check:
    mistakes = [line.strip() for line in check_all()]
    if not stack_is_up:
        # Before the first `make up` the credentials are not made yet: that is no mistake.
        mistakes = [line for line in mistakes if MISSING not in line]
    found = "; ".join(mistakes) or "no mistake"
    return Check(
        "settings", not mistakes, found, "no mistake", "Correct them in the environment or in .env." if mistakes else ""
    )


def _endpoints() -> Iterator[Check]:
    """The file of endpoints, if the settings name one: it can be read, and each endpoint has its key."""
    try:
        endpoints = Endpoints(load(ProviderSettings))
    except ConfigError as error:
        yield Check("providers.yaml", False, str(error), "no mistake", "Mend what the lines name.")
        return
    for name in endpoints.names:
        try:
            found, ok = ("no key needed" if endpoints.get(name).key is None else "key found"), True
        except ConfigError as error:
            found, ok = str(error), False
        fix = "" if ok else "`switchyard providers check` asks every endpoint one word."
        yield Check(f"endpoint {name}", ok, found, "its key", fix)


def _ports(settings: StackSettings, running: set[str]) -> Iterator[Check]:
    for name, port in wanted_ports(settings, PARTS).items():
        if OWNERS[name] in running or is_free(port):
            yield Check(f"port {port}", True, "ours" if OWNERS[name] in running else "free", "free")
        else:
            fix = f"Set SWITCHYARD_{name.upper()} to a free one."
            yield Check(f"port {port}", False, f"taken by {holder(port)}", "free", fix)


def _part(part: str, ready: bool, state: str, *, part_running: bool) -> Check:
    if not part_running:
        return Check(part, True, "stopped", "ready, after `make up`")
    fix = "" if ready else f"`make logs PART={part}` tells why; `make down` and `make up` start afresh."
    return Check(part, ready, "ready" if ready else state, "ready", fix)
