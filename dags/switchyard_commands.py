"""How a DAG speaks to Switchyard: by commands and assets. In: the words of a command. Out: the JSON that it printed.

Exit codes become Airflow's outcomes: a task that ended with 3 (a part is unreachable) is tried again; one that ended
with 1, 2 or 4 is not, since the same command would end the same way. Progress goes to the task's log. This module
imports nothing of Switchyard.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from airflow.sdk import Asset, get_current_context
from airflow.sdk.exceptions import AirflowException, AirflowFailException

RAW_DOCUMENTS = Asset(
    name="raw_documents",
    uri="s3://raw-data-bucket/articles/raw_docs.json",
    extra={"meaning": "new raw documents; whoever writes them says so by an event over REST"},
)
KNOWLEDGE_BASE = Asset(
    name="knowledge_base",
    uri="s3://curated-data-bucket/llm_prepared_docs",
    extra={"meaning": "a chunk table at one Delta version, with its index; the event's extra says which version"},
)
FEATURE_TABLE = Asset(
    name="feature_table",
    uri="switchyard://feature-table",
    extra={"meaning": "a model's raw rows or features are new; whoever wrote them sends an event over REST"},
)
DATA_QUALITY = Asset(
    name="data_quality",
    uri="switchyard://data-quality",
    extra={"meaning": "a model's new rows fail expectations; the event's extra names the model and the expectations"},
)
CANDIDATE = Asset(
    name="switchyard_candidate",
    uri="switchyard://candidate",
    extra={"meaning": "a prompt or a model has a new version; the event's extra holds its name and number"},
)
PROMOTION = Asset(
    name="promotion",
    uri="switchyard://promotion",
    extra={"meaning": "a version went live in Production and passed its smoke test; the extra holds name and number"},
)
QUESTION_DRIFT = Asset(
    name="question_drift",
    uri="switchyard://question-drift",
    extra={"meaning": "live questions are not those of the release's first window any more"},
)
ANSWER_DRIFT = Asset(
    name="answer_drift",
    uri="switchyard://answer-drift",
    extra={"meaning": "a release's answers, or what they mean, are not those of its first window any more"},
)
MODEL_DRIFT = Asset(
    name="model_drift",
    uri="switchyard://model-drift",
    extra={"meaning": "a model's inputs or predictions are not those of its release's first window any more"},
)

PREPARED_ROWS = "switchyard_prepared_rows"
"""The Airflow variable that holds how many rows of the raw table of documents a preparation has taken."""
ROOT = Path(__file__).resolve().parents[1]
NOT_FOUND = 2
UNREACHABLE = 3
REFUSED = 4


def switchyard(*words: str | int, accept: Collection[int] = (0,), person: str | None = None) -> Any:
    """Run `switchyard WORDS --json` and return what it printed. `person` is who approved it; records name that person.

    Raises:
        AirflowException: a part is unreachable (exit code 3); Airflow tries again.
        AirflowFailException: any other exit code that is not in `accept`; trying again would not help.
    """
    command = ["switchyard", *map(str, words), "--json"]
    settings = {"SWITCHYARD_AIRFLOW_PERSON": person} if person else {}
    exit_code, printed = _run(command, {**lineage_settings(), **settings})
    said = " ".join(command[:-1])
    if exit_code == UNREACHABLE and exit_code not in accept:
        raise AirflowException(f"`{said}`: a part is unreachable (exit code 3; its words are in the log).")
    if exit_code not in accept:
        raise AirflowFailException(f"`{said}` ended with exit code {exit_code}; its words are in the log.")
    return json.loads(printed) if printed.strip() else {}


def prompts() -> list[str]:
    """The names of the prompts that have a folder."""
    return sorted(path.name for path in (ROOT / "prompts").iterdir() if path.is_dir())


def models(file: str = "model.yaml") -> list[str]:
    """The names of the models whose folder has this file."""
    return sorted(path.parent.name for path in (ROOT / "models").glob(f"*/{file}"))


def missing_files(name: str) -> list[str]:
    """What a folder lacks for an evaluation: the policy of the gate, and for a prompt the cases to ask. A version of a
    model names its own test set."""
    kind, files = ("models", ["policy.yaml"]) if name in models() else ("prompts", ["cases.jsonl", "policy.yaml"])
    folder = ROOT / kind / name
    return [
        f"{kind}/{name}/{file} is not there or empty"
        for file in files
        if not (folder / file).is_file() or not (folder / file).read_text(encoding="utf-8").strip()
    ]


def first_questions(name: str) -> list[str]:
    """The first two questions of a prompt's cases: what a release is asked when it has just gone live."""
    lines = (ROOT / "prompts" / name / "cases.jsonl").read_text(encoding="utf-8").splitlines()[:2]
    return [json.loads(line)["question"] for line in lines]


def first_rows(name: str, version: int) -> list[dict[str, Any]]:
    """The first two rows of a model's test set: what a release predicts when it has just gone live."""
    described = switchyard("show", f"{name}/{version}")["manifest"]["model"]
    rows: list[dict[str, Any]] = switchyard("sql", f"SELECT * FROM delta.`{described['test_table']}` LIMIT 2")
    return rows


def lineage_settings() -> dict[str, str]:
    """The settings by which a command names this task and its DAG in its OpenLineage events.

    Empty outside of a task, and where Airflow's OpenLineage provider is turned off.
    """
    try:
        context = get_current_context()
        macros = context["macros"].OpenLineageProviderPlugin
    except (RuntimeError, AttributeError):
        return {}
    task = context["ti"]
    return {
        "SWITCHYARD_PARENT_RUN": macros.lineage_parent_id(task),
        "SWITCHYARD_ROOT_RUN": macros.lineage_root_parent_id(task),
    }


def _run(command: list[str], settings: Mapping[str, str]) -> tuple[int, str]:
    """Return exit code and stdout. A task that is stopped, or runs out of time, stops what it started too."""
    environment = {**os.environ, **settings}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        printed, _ = process.communicate()
    except BaseException:
        os.killpg(process.pid, signal.SIGTERM)
        raise
    return process.returncode, printed
