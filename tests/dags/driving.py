"""What a test does with Airflow: trigger, answer, wait, look; by commands and REST alone."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlflow_project.adapters.airflow import Airflow, airflow_settings
from mlflow_project.errors import Unavailable

ROOT = Path(__file__).parents[2]
ENDED = ("success", "failed")


class RunningAirflow:
    """What a test does with Airflow: trigger, answer, wait, look."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.rest: Airflow = until(lambda: Airflow(airflow_settings()), 120, lambda: "Airflow gives no token")

    def get(self, path: str, **query: Any) -> Any:
        """Read over REST; asked again where Airflow's SQLite was busy for too long."""
        return until(lambda: self.rest.get(path, **query), 60, lambda: f"no answer to {path}")

    def trigger(self, dag: str, **conf: Any) -> str:
        """Start a run by hand; its id."""
        run: str = self.rest.post(f"dags/{dag}/dagRuns", {"logical_date": None, "conf": conf})["dag_run_id"]
        return run

    def runs(self, dag: str, kind: str) -> list[str]:
        """Ids of the runs of this kind (`asset_triggered`, `operator_triggered` …), oldest first."""
        found = self.get(f"dags/{dag}/dagRuns", order_by="id", limit=100)["dag_runs"]
        return [run["dag_run_id"] for run in found if run["run_type"] == kind]

    def ended(self, dag: str, run: str, seconds: float = 300) -> str:
        """Wait for the run's end; its state."""
        return str(until(lambda: self._ended(dag, run), seconds, lambda: f"{dag} {run}: {self.tasks(dag, run)}"))

    def tasks(self, dag: str, run: str) -> dict[str, str]:
        """The state of each task."""
        found = self.get(f"dags/{dag}/dagRuns/{run}/taskInstances")["task_instances"]
        return {task["task_id"]: task["state"] for task in found}

    def story(self, dag: str, run: str) -> str:
        """The state of each task, what each failed one logged, and what the scheduler made of it."""
        instances = f"dags/{dag}/dagRuns/{run}/taskInstances"
        lines = []
        for task in self.get(instances)["task_instances"]:
            lines.append(f"{task['task_id']}: {task['state']}, try {task['try_number']}")
            if task["state"] == "failed":
                log = self.get(f"{instances}/{task['task_id']}/logs/{task['try_number']}", map_index=task["map_index"])
                lines += [f"  {line['event']}" for line in log["content"][-20:]]
        events = self.get("eventLogs", dag_id=dag, run_id=run, event="state mismatch")["event_logs"]
        return "\n".join([*lines, *(event["extra"] for event in events)])

    def ask_again(self, dag: str, run: str, task: str) -> None:
        """Clear a task and what comes after it, as by a click on *Clear*."""
        body = {"dag_run_id": run, "task_ids": [task], "include_downstream": True, "only_failed": False}
        self.rest.post(f"dags/{dag}/clearTaskInstances", {**body, "reset_dag_runs": True, "dry_run": False})

    def result(self, dag: str, run: str, task: str, map_index: int = -1) -> Any:
        """What a task returned."""
        path = f"dags/{dag}/dagRuns/{run}/taskInstances/{task}/xcomEntries/return_value"
        value = self.get(path, map_index=map_index)["value"]
        return json.loads(value) if isinstance(value, str) and value[:1] in "[{" else value

    def answer(self, dag: str, run: str, task: str, option: str | int, map_index: int = -1) -> dict[str, Any]:
        """Wait until the task asks a person, answer with an option, by its words or its place, and again where Airflow
        lost the answer and asks again; wait until the task has ended. The question."""
        path = f"dags/{dag}/dagRuns/{run}/taskInstances/{task}/{map_index}/hitlDetails"
        until(lambda: self.tasks(dag, run).get(task) == "awaiting_input", 120, lambda: str(self.tasks(dag, run)))
        question: dict[str, Any] = self.get(path)
        chosen = question["options"][option] if isinstance(option, int) else option

        def taken() -> bool:
            state = self.tasks(dag, run).get(task)
            if state == "awaiting_input" and not self.get(path)["response_received"]:
                time.sleep(3)  # an answer can be lost that comes before Airflow's scheduler saw the task go to sleep
                self.rest.patch(path, {"chosen_options": [chosen], "params_input": {}})
            return state in ENDED

        until(taken, 150, lambda: str(self.tasks(dag, run)))
        return question

    def _ended(self, dag: str, run: str) -> str | None:
        state: str = self.get(f"dags/{dag}/dagRuns/{run}")["state"]
        return state if state in ENDED else None


def switchyard(*words: str) -> Any:
    """A command's JSON document."""
    command = [Path(sys.executable).with_name("switchyard"), *words, "--json"]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)


def manage(*command: str) -> None:
    """Run `python -m stack.airflow COMMAND`; its output shows when a test fails."""
    subprocess.run([sys.executable, "-m", "stack.airflow", *command], cwd=ROOT, check=True)


def until(holds: Callable[[], Any], seconds: float, describe: Callable[[], str]) -> Any:
    """Return the first true value; fail with a description when there is none in time. On a busy machine Airflow may
    answer later than its caller waits, so it is asked again."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(Unavailable):
            if value := holds():
                return value
        time.sleep(0.5)
    raise AssertionError(f"Not within {seconds:.0f} s: {describe()}")
