"""What the log keeps of a request until it is written: its texts only where they are logged."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlflow_project.domain.answer import Answer, Context
from mlflow_project.rules.masking import Masker
from mlflow_project.settings import LogSettings
from mlflow_project.telemetry.meters import Meters
from mlflow_project.telemetry.outbox import Outbox
from mlflow_project.telemetry.tracing import Trace
from serving.after.query_log import QueryLog
from serving.call import Call, Finished
from tests.serving.snapshots import Snapshots


@pytest.mark.parametrize("logged", [True, False])
def test_texts_wait_to_be_written_only_where_they_are_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: bool
) -> None:
    kept: list[object] = []
    monkeypatch.setattr(Outbox, "put", lambda self, item: kept.append(item))
    release = Snapshots(tmp_path).seal("qa")
    answer = Answer("an answer", contexts=(Context("c", "d", "", "a chunk", 0, 7, 1.0),))
    call = Call("r", Trace("POST", None, listening=False))
    log = QueryLog(LogSettings(log_texts=logged), Masker(), Meters())
    try:
        log.record(Finished.of(call, release, {"question": "a question"}, answer, None))
    finally:
        log.close()
    held = str(kept[0])
    assert ("a question" in held, "an answer" in held) == (logged, logged)
    assert "a chunk" not in held
