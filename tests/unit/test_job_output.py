"""What a person sees of a job's messages and of its result."""

from __future__ import annotations

import io

import pytest

from mlflow_project.commands.knowledge import _pass_on
from spark_jobs.program import _closing


def test_what_java_and_spark_say_at_every_start_is_left_out(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    lines = [
        b"WARNING: Using incubator modules: jdk.incubator.vector\n",
        b"26/11/30 12:53:04 WARN NativeCodeLoader: Unable to load native-hadoop library\n",
        b"Reading raw.jsonl (lines); the table holds 4 documents.\n",
        b"The store does not answer.",
    ]
    _pass_on(io.BytesIO(b"".join(lines)))
    assert capfdbinary.readouterr().err == lines[2] + lines[3]


def test_a_result_is_printed_without_words_of_python() -> None:
    pins = [{"release": "qa/2", "aliases": ["Production"], "delta_version": 5}]
    result = {"dry_run": True, "read": 1234, "quarantined": {"not_json": 2}, "refused": None, "pins": pins}
    assert _closing("raw -> table", result).splitlines() == [
        "raw -> table",
        "  dry_run      yes",
        "  read         1,234",
        "  quarantined  2",
        "    not_json   2",
        "  pins         1",
        "               release qa/2, aliases Production, delta_version 5",
    ]
