"""
### fine_tune: a set of examples becomes a prompt version with a tuned model

**What it does.** `tuned` submits the set to the provider of `LLM_API_URL` and looks once a minute whether the model is
trained; between two looks it holds no worker slot. Then a version like the one in `for` is registered, with the tuned
model. `announce` sends the event of the asset `switchyard_candidate`, which starts `evaluate_and_promote`: a tuned
model goes through the gate like any other candidate.

**When.** By hand only, since training costs money. Make the set before with `spark_jobs/export_fine_tuning.py`.

**It can be repeated.** The same form finds the job that it started before, and pays for no second one.

**When it fails.**
- `tuned`: read the end of its log. Exit code 4: training would cost more than `max_usd`, or the provider's job failed
  (the log has the provider's reason). Exit code 2: the set, the model's name or the key is wrong. An unreachable
  provider is asked again by itself.
- To stop a job: `switchyard fine-tune SET --model MODEL --for NAME/N --cancel`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, PokeReturnValue, dag, task
from switchyard_commands import CANDIDATE, switchyard


@task.sensor(mode="reschedule", poke_interval=60, timeout=timedelta(days=3).total_seconds())
def tuned(params: dict[str, Any]) -> PokeReturnValue:
    """Submit the set, or look at the job that was submitted. Done when the tuned model has a version."""
    cost = ("--usd-per-million", params["usd_per_million"], "--max-usd", params["max_usd"])
    words = (params["set"], "--model", params["model"], "--for", params["for"], "--epochs", params["epochs"])
    found = switchyard("fine-tune", *words, *cost, "--no-wait")
    return PokeReturnValue(is_done=found["registered"] is not None, xcom_value=found["registered"])


@task(outlets=[CANDIDATE])
def announce(registered: dict[str, Any], outlet_events: Any) -> None:
    """Starts `evaluate_and_promote`."""
    outlet_events[CANDIDATE].extra = {"name": registered["name"], "version": registered["version"]}


@dag(
    dag_id="fine_tune",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    is_paused_upon_creation=False,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30), "execution_timeout": timedelta(hours=1)},
    dagrun_timeout=timedelta(days=4),
    params={
        "set": Param("", type="string", minLength=1, title="Set", description="A folder of export_fine_tuning.py."),
        "model": Param("", type="string", minLength=1, title="Base model", description="Its name at the provider."),
        "for": Param("", type="string", minLength=1, title="Version", description="As in qa/2 or qa@Production."),
        "epochs": Param(3, type="integer", minimum=1, title="Epochs"),
        "usd_per_million": Param(0.0, type="number", minimum=0, description="The price of a million tokens."),
        "max_usd": Param(0.0, type="number", minimum=0, description="Submit, if the estimate is not above this."),
    },
    tags=["switchyard"],
)
def fine_tune() -> None:
    announce(tuned())


fine_tune()
