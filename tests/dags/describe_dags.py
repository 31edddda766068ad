"""Run by Airflow's own Python: reads the DAG files and prints what they say as JSON. Not a test itself."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "dags"))

import batch_inference
import drift_watch
import evaluate_and_promote
import fine_tune
import ingest
import prepare_knowledge
import rollback
import tell_catalogues
import train_model
from airflow.sdk import DAG


def described(dag: DAG) -> dict[str, object]:
    return {
        "doc_md": dag.doc_md,
        "catchup": dag.catchup,
        "begins_active": dag.is_paused_upon_creation is False,
        "timeout": dag.dagrun_timeout is not None,
        "params": {name: dag.params.get_param(name).schema for name in dag.params},
        "tasks": {
            task.task_id: {
                "downstream": sorted(task.downstream_task_ids),
                "trigger_rule": str(getattr(task, "trigger_rule", "all_success")),
                "retries": getattr(task, "retries", None),
                "bounded": bounded(task),
            }
            for task in dag.tasks
        },
    }


def bounded(task: object) -> bool:
    given = getattr(task, "partial_kwargs", {})
    limits = ("execution_timeout", "response_timeout")
    return any(getattr(task, limit, None) or given.get(limit) for limit in limits)


modules = (
    prepare_knowledge,
    train_model,
    drift_watch,
    evaluate_and_promote,
    batch_inference,
    fine_tune,
    ingest,
    rollback,
    tell_catalogues,
)
dags = [value() for module in modules for name, value in vars(module).items() if name == module.__name__]
json.dump({dag.dag_id: described(dag) for dag in dags}, sys.stdout)
