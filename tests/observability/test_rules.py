"""The Prometheus rules and the collector's pipeline, by promtool's and the collector's own checks."""

from __future__ import annotations

import os
import subprocess

import pytest

from stack.observe import programs

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def promtool() -> None:
    """Build it: minutes where it is not in the cache yet."""
    programs.build_all(programs.promtool())


PROMETHEUS = programs.OBSERVABILITY / "prometheus"


def says(*command: str | os.PathLike[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command],
        cwd=PROMETHEUS / "tests",
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def test_promtool_finds_no_mistake_in_configuration_and_rules(promtool: None) -> None:
    done = says(programs.promtool().binary, "check", "config", "--lint-fatal", PROMETHEUS / "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_does_what_its_test_says(promtool: None) -> None:
    done = says(programs.promtool().binary, "test", "rules", "rules_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_collector_finds_no_mistake_in_its_pipeline(built: None) -> None:
    ports = {"SWITCHYARD_OTLP_PORT": "1", "SWITCHYARD_PROMETHEUS_PORT": "2", "SWITCHYARD_COLLECTOR_HEALTH_PORT": "3"}
    config = programs.OBSERVABILITY / "collector" / "config.yaml"
    done = says(
        programs.collector().binary, "validate", "--config", config, SWITCHYARD_MLFLOW_URI="http://127.0.0.1:4", **ports
    )
    assert done.returncode == 0, done.stdout + done.stderr
