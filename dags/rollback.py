"""
### rollback: back to what was live before

**What it does.** `switchyard rollback NAME`: moves `Production` back, with receipts from every worker, and asks one
question to see that it answers. By hand only; it needs no gate, since every version that was live had its seal.

**How.** Give a name and a reason. Leave the rest alone to go back to what was live before; again goes further back.
Say *choose from a list* to be shown, under *Required Actions*, the versions that were live and when. Or give a number.

**When it fails.**
- exit code 4: there is nothing to go back to, or the version was never live. Nothing moved; `switchyard history NAME`.
- exit code 3: registry or object store are unreachable. The servers keep answering from their disks; trigger it again.
- no Airflow? The same by hand: `switchyard rollback NAME --reason "…"`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Param, TriggerRule, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException
from switchyard_commands import first_questions, prompts, switchyard

WENT_LIVE = ("flip", "observed_flip", "rollback")


@task.branch
def how(params: dict[str, Any]) -> str:
    """By the list, or at once."""
    return "choices" if params["choose_from_list"] else "move"


@task
def choices(params: dict[str, Any]) -> list[list[str]]:
    """The versions that were live in Production, newest first, each with the time when it last became live."""
    rows = [
        row
        for row in switchyard("history", params["name"])
        if row["type"] in WENT_LIVE and row.get("alias") == "Production"
    ]
    since = {row["version"]: row["time"] for row in rows}
    if not since:
        raise AirflowFailException(f"{params['name']} has never been live: there is nothing to go back to.")
    return [
        [f"{version} (live since {since[version]})" for version in sorted(since, key=lambda v: since[v], reverse=True)]
    ]


@task(trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS, retries=0)
def move(params: dict[str, Any]) -> Any:
    """Flip back. Never tried again by itself: a second rollback goes further back. The record names the person who
    picked a version, or who started this run."""
    context = get_current_context()
    picked = context["ti"].xcom_pull(task_ids="pick", map_indexes=0)
    person = picked["responded_by_user"]["name"] if picked else context["dag_run"].triggering_user_name
    to = picked["chosen_options"][0].split()[0] if picked else params["to"]
    where = ("--to", to) if to is not None else ()
    return switchyard("rollback", params["name"], *where, "--reason", params["reason"], person=person)


@task
def smoke(params: dict[str, Any]) -> Any:
    """One question, answered by what is live now."""
    question = params["smoke_question"] or first_questions(params["name"])[0]
    return switchyard("ask", params["name"], question)["release"]


@dag(
    dag_id="rollback",
    doc_md=__doc__,
    schedule=None,
    is_paused_upon_creation=False,  # it never starts by itself, and whoever needs it is in a hurry
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=5), "execution_timeout": timedelta(minutes=5)},
    dagrun_timeout=timedelta(hours=2),
    params={
        "name": Param("qa", type="string", title="Prompt or model", examples=prompts()),
        "reason": Param(type="string", minLength=3, description="Stands in the ledger."),
        "choose_from_list": Param(False, type="boolean", description="Show me the versions that were live."),
        "to": Param(None, type=["null", "integer"], minimum=1, description="Empty: what was live before."),
        "smoke_question": Param(None, type=["null", "string"], description="Empty: its first case."),
    },
    tags=["switchyard"],
)
def rollback() -> None:
    options, flip = choices(), move()
    pick = HITLOperator.partial(
        task_id="pick",
        subject="Which version of {{ params.name }} is to be live?",
        response_timeout=timedelta(minutes=50),
        execution_timeout=None,
        retries=1,  # a busy scheduler may take the answer for a defect: the question is asked again
    ).expand(options=options)
    how() >> [options, flip]
    pick >> flip >> smoke()


rollback()
