"""`.env.example` shows every setting that there is, and none that there is not."""

import re
from pathlib import Path

from mlflow_project.settings import ALL_SETTINGS
from stack.addresses import StackSettings
from stack.ingest.processes import IngestPorts

ROOT = Path(__file__).parents[2]
SHOWN = set(re.findall(r"^#([A-Z0-9_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
READ_ELSEWHERE = {"SWITCHYARD_LOG_LEVEL"}


def names() -> set[str]:
    found = set()
    for kind in (*ALL_SETTINGS, StackSettings, IngestPorts):
        prefix = str(kind.model_config.get("env_prefix", ""))
        for name, field in kind.model_fields.items():
            found.add(str(field.validation_alias or (prefix + name).upper()))
    return found


def test_each_setting_is_shown_with_its_default() -> None:
    assert names() - SHOWN == set()


def test_nothing_is_shown_that_nobody_reads() -> None:
    assert SHOWN - names() - READ_ELSEWHERE == set()
