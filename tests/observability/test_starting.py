"""What `make observe` says when it cannot begin."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from mlflow_project.errors import ConfigError
from stack.observe import processes, programs
from stack.ports import check_each


def test_without_a_stack_nothing_is_started(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="The stack does not run"):
        processes.up(tmp_path, say=lambda _: None)
    assert processes.supervisor_of(tmp_path).processes() == {}


def test_a_taken_port_is_told_with_the_setting_that_moves_it() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match="SWITCHYARD_PROMETHEUS_PORT"):
            check_each({"prometheus_port": port}, processes.OWNERS)


def test_a_changed_pin_never_meets_an_old_build() -> None:
    binaries = [program.binary for program in (programs.prometheus(), programs.promtool(), programs.collector())]
    assert len({binary.parent.name for binary in binaries}) == 2
    assert [binary.name for binary in binaries] == ["prometheus", "promtool", "otelcol"]
