"""Prometheus, promtool and the collector: what each is built from, and where its binary lies in the cache."""

from __future__ import annotations

import shutil
import time

from mlflow_project.errors import ConfigError
from stack.go_build import GoProgram, build
from stack.layout import ROOT, built_binary, cache_folder
from stack.progress import Progress, Ticker, say
from stack.tools import Tools

OBSERVABILITY = ROOT / "observability"

_PROMETHEUS = OBSERVABILITY / "prometheus"
_COLLECTOR = OBSERVABILITY / "collector"
_PIN = ("go.mod", "go.sum")
DURATION = "about 4 minutes on two free cores, and up to 20 on a busy machine"


def prometheus() -> GoProgram:
    """The database of metrics, built without service discovery: a tenth of the size and of the time to build."""
    return _of_prometheus("prometheus")


def promtool() -> GoProgram:
    """Checks and tests Prometheus's rules. For `make test-long` alone: it compiles the whole client of Kubernetes."""
    return _of_prometheus("promtool")


def collector() -> GoProgram:
    """The collector with the parts that `builder.yaml` names."""
    made_from = [_COLLECTOR / name for name in (*_PIN, "main.go", "components.go")]
    return GoProgram(_COLLECTOR, ".", built_binary("otelcol", *made_from))


def build_all(*programs: GoProgram) -> None:
    """Build these programs where they are not in the cache yet, one after the other, since each takes all cores.

    Raises:
        ConfigError: there is no Go, and it is needed.
        Unavailable: a build failed; the message has its last lines.
    """
    missing = [program for program in programs if not program.binary.exists()]
    if missing and shutil.which("go") is None:
        names = ", ".join(program.name for program in missing)
        raise ConfigError(f"Go is needed to build {names}: install it from your system or from go.dev/dl.")
    if missing:
        say(f"Building {', '.join(program.name for program in missing)} from source, once: {DURATION}.")
    steps = {program.name: Progress(program.name) for program in missing}
    with Ticker(dict(steps)) as ticker:
        for program in missing:
            steps[program.name].began = time.monotonic()
            ticker.finished(program.name, build(program, steps[program.name], Tools(cache_folder() / "logs")))


def _of_prometheus(name: str) -> GoProgram:
    binary = built_binary(name, *(_PROMETHEUS / pin for pin in _PIN))
    return GoProgram(_PROMETHEUS, f"github.com/prometheus/prometheus/cmd/{name}", binary, tags="remove_all_sd")
