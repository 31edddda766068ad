"""
### evaluate_and_promote: a candidate becomes live, if the evidence says so

**What it does.** `choose` (which version) → `ready` (are there cases and a policy) → `evaluate` (against what is live,
on the same cases) → `replay` (of recorded live questions, if the policy asks for it) → `gate` (verdict; an accepted
version is sealed) → `accepted` → `promote_to_staging` → `smoke_in_staging` → a person approves, when the policy says so
→ `promote_to_production` → `in_production` → `smoke_in_production`, and `roll_back` if that fails.

**In steps.** If the policy has a `rollout`, `promote_to_production` begins one instead, and `in_production` waits until
it has ended: the guard takes the steps, or a person does (`switchyard rollout step NAME`). The waiting task holds no
worker. If the rollout is aborted, the run fails, and what was live before is live.

**When.** Daily at 05:00 UTC; on an event of the asset `knowledge_base` (the prompts are registered anew, pinned to it);
on an event of `switchyard_candidate`, which `switchyard register --notify`, `train_model` and `fine_tune` send, or of
`answer_drift`, which `drift_watch` sends; by hand with a name, and a version if you mean another than those that no
gate has judged. Of several candidates each gets a run of its own, one after the other, so that each is measured against
what is live by then. The DAG begins paused: nothing starts until somebody unpauses it (`make airflow ACTIVE=1` does).

**Prompts and models go the same way.** A prompt is tried with smoke questions, a model with the first two rows of its
test set. What went live in `Production` and passed is announced by an event of the asset `promotion`, which starts
`batch_inference`.

**A refused verdict is a success.** The run stops at `accepted`, whose log says why; so does the result of `gate`, and
`switchyard history NAME`. A candidate that was judged is not judged again unless you name its version.

**Not ready is a success, too.** A prompt without cases or policy, or a model without policy, stops at `ready`, whose
log lists what is missing.

**Approval.** Under *Required Actions*: the verdict's reasons, *Approve* or *Reject*. After *Reject* nothing moves, and
the run is a success. After half a day without an answer it asks once more, then the task fails and nothing moves.

**When it fails.**
- `evaluate` or `replay`: the answers so far are kept; clear the task and it goes on from there.
- `promote_to_…` with exit code 4: somebody else moved the alias first, or what is live is no longer what the candidate
  was measured against. Nothing moved. Trigger a new run with this version. Or the version was rolled back for a reason:
  trigger a new run with `despite_rollback`, which says why it may be live again.
- `roll_back` is red after a failed smoke in production: it has rolled back, and what was live before is live again
  (`switchyard live` shows it). It is skipped when production was not moved.
- `any_failure` is red when any task failed, so that the run is. Look at the task that failed.
"""

from __future__ import annotations

import json
import logging
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import (
    AssetOrTimeSchedule,
    CronTriggerTimetable,
    Param,
    TriggerRule,
    chain,
    dag,
    get_current_context,
    task,
)
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from switchyard_commands import (
    ANSWER_DRIFT,
    CANDIDATE,
    KNOWLEDGE_BASE,
    NOT_FOUND,
    PROMOTION,
    REFUSED,
    first_questions,
    first_rows,
    missing_files,
    models,
    prompts,
    switchyard,
)

log = logging.getLogger(__name__)

Candidate = dict[str, Any]  # {"name": "qa", "version": 7}


@task
def choose(params: dict[str, Any], triggering_asset_events: Any) -> list[Candidate]:
    """Which versions to judge: those of the events, the one that a person named, or all that nobody has judged."""
    announced = [event.extra for event in triggering_asset_events.get(CANDIDATE, ())]
    if announced:
        found = [{"name": extra["name"], "version": extra["version"]} for extra in announced]
    elif params["version"] is not None:
        found = [{"name": params["name"], "version": params["version"]}, *params["then"]]
    else:
        by_hand = [params["name"]] if params["name"] else prompts()
        found = [candidate for name in by_hand for candidate in unjudged(name)]
    if not found:
        raise AirflowSkipException("Every version of every prompt has been judged; there is nothing to do.")
    return [candidate for number, candidate in enumerate(found) if candidate not in found[:number]]


def unjudged(name: str) -> list[Candidate]:
    """The versions that no gate has judged, oldest first; what is new in a prompt's folder is registered before."""
    words = ("list", name) if name in models() else ("register", f"prompts/{name}")
    versions = {row["version"] for row in switchyard(*words)}
    records = switchyard("history", name, accept=(0, NOT_FOUND))  # not found: nothing was ever recorded about it
    judged = {row["version"] for row in records if row["type"] in ("seal", "refusal")}
    return [{"name": name, "version": version} for version in sorted(versions - judged)]


def chosen() -> tuple[str, int]:
    """Name and version of this run's candidate. Read, not passed on: an arrow from `choose` to a promotion would be a
    way around the gate."""
    candidate = get_current_context()["ti"].xcom_pull(task_ids="choose")[0]
    return candidate["name"], candidate["version"]


@task.short_circuit(ignore_downstream_trigger_rules=False)
def ready() -> bool:
    """Go on only with a prompt that can be judged; the log lists what is missing."""
    name, version = chosen()
    missing = missing_files(name)
    if missing:
        log.info("%s/%s is not ready to be judged:\n- %s", name, version, "\n- ".join(missing))
    return not missing


@task(execution_timeout=timedelta(hours=4))
def evaluate() -> Any:
    """One MLflow run for the candidate, one for what is live."""
    name, version = chosen()
    return switchyard("evaluate", name, "--version", version, "--against", "Production")


@task(execution_timeout=timedelta(hours=4))
def replay() -> Any:
    """Recorded live questions on the candidate and on what is live, if the policy asks for a replay. Whatever comes of
    it, the gate decides: without a replay that its policy asks for, it does not accept."""
    name, version = chosen()
    return switchyard("replay", name, "--version", version, "--if-demanded", accept=(0, NOT_FOUND, REFUSED))


@task
def gate() -> Any:
    """The verdict, from the evaluation's runs. Accepted: sealed."""
    name, version = chosen()
    return switchyard("gate", name, "--version", version, accept=(0, REFUSED))


@task.short_circuit(ignore_downstream_trigger_rules=False)
def accepted() -> bool:
    """Go on only with a version that the gate accepted; say why not."""
    name, version = chosen()
    verdict = get_current_context()["ti"].xcom_pull(task_ids="gate")
    log.info("%s/%s is %s:\n- %s", name, version, verdict["outcome"], "\n- ".join(verdict["reasons"]))
    return bool(verdict["accepted"])


@task
def promote_to_staging() -> Any:
    """Flip `Staging`."""
    name, version = chosen()
    return switchyard("promote", name, "--version", version, "--to", "Staging")


@task
def smoke_in_staging() -> None:
    """The smoke questions, answered by `Staging`."""
    smoke("Staging")


@task.branch
def who_decides() -> str:
    """A person, when the policy or whoever started this run says so."""
    context = get_current_context()
    wanted = context["params"]["ask_a_person"] or context["ti"].xcom_pull(task_ids="gate").get("approval")
    return "approval" if wanted else "promote_to_production"


@task(trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS)
def promote_to_production() -> Any:
    """Flip `Production`, with receipts from every worker, or begin the rollout that the policy asks for. The record
    names the person who approved, if one did."""
    name, version = chosen()
    answer = get_current_context()["ti"].xcom_pull(task_ids="approval")
    person = answer["responded_by_user"]["name"] if answer else None
    reason = f"approved in Airflow by {person}" if person else "accepted by the gate"
    where = ("--to", "Production")
    why = get_current_context()["params"]["despite_rollback"]
    despite = ("--despite-rollback", why) if why else ()
    if in_steps():
        began = switchyard("rollout", "start", name, "--version", version, "--reason", reason, *despite, person=person)
        return began["rollout"]
    return switchyard("promote", name, "--version", version, *where, "--reason", reason, *despite, person=person)


def in_steps() -> bool:
    """Whether the policy asks for a rollout. A first version is promoted: it has nothing to share traffic with."""
    verdict = get_current_context()["ti"].xcom_pull(task_ids="gate")
    return bool(verdict["rollout"]) and verdict["champion"] is not None


def end_of_rollout() -> dict[str, Any] | None:
    """How this run's rollout has ended; None: it is under way."""
    name, _ = chosen()
    began = get_current_context()["ti"].xcom_pull(task_ids="promote_to_production")
    last = switchyard("rollout", "status", name)["last"]
    return last if last is not None and last["rollout"] == began["id"] else None


@task.sensor(mode="reschedule", poke_interval=60, timeout=timedelta(days=1, hours=12).total_seconds())
def in_production() -> bool:
    """Wait until a rollout has ended; a plain promotion is complete at once. The task holds no worker meanwhile."""
    ended = end_of_rollout() if in_steps() else {"how": "finished"}
    if ended is not None and ended["how"] != "finished":
        raise AirflowFailException(f"The rollout was {ended['how']} by {ended['who']}: {ended['why']}")
    return ended is not None


@task
def smoke_in_production() -> None:
    """The smoke questions, answered by `Production`."""
    smoke("Production")


@task(outlets=[PROMOTION])
def announce_promotion(outlet_events: Any) -> None:
    """Say what is live now. Starts `batch_inference`."""
    name, version = chosen()
    outlet_events[PROMOTION].extra = {"name": name, "version": version}


@task(trigger_rule=TriggerRule.ONE_FAILED, retries=0)
def roll_back() -> None:
    """Go back to what was live before, and fail, so that somebody looks. Skipped when production was not moved."""
    flip = get_current_context()["ti"].xcom_pull(task_ids="promote_to_production")
    if flip is None:
        raise AirflowSkipException("Production was not moved, so nothing is rolled back; see the task that failed.")
    name, version = chosen()
    if in_steps():
        ended = end_of_rollout()
        if ended is None or ended["how"] != "finished":
            raise AirflowSkipException("The rollout did not finish, so nothing is rolled back; see the failed task.")
        flip = {"from_version": flip["baseline_version"], "moved": True}
    before = flip["from_version"]
    if before is None:
        raise AirflowFailException(f"{name}/{version} fails its smoke questions, and nothing was live before it.")
    to = ("--to", before) if flip["moved"] else ()  # tried again, it found its own flip made: the ledger knows better
    failed = f"{name}/{version} failed its smoke questions"
    back = switchyard("rollback", name, *to, "--reason", failed)
    raise AirflowFailException(f"{failed}; {name}/{back['version']} is live again.")


@task(trigger_rule=TriggerRule.ONE_FAILED, retries=0)
def any_failure() -> None:
    """Make the run fail where any task failed: the last tasks alone decide a run's state, and they may be skipped."""
    raise AirflowFailException("A task of this run failed: see the red one.")


@task(trigger_rule=TriggerRule.ALL_DONE)
def others() -> list[dict[str, Any]]:
    """The next candidate's run, if there is one; it takes the rest along."""
    context = get_current_context()
    rest = (context["ti"].xcom_pull(task_ids="choose") or [])[1:]
    return [{**rest[0], "then": rest[1:], "ask_a_person": context["params"]["ask_a_person"]}] if rest else []


def smoke(alias: str) -> None:
    """Each question is answered, or each row of a model is predicted, and by this very version.

    Raises:
        AirflowFailException: it is not.
    """
    name, version = chosen()
    if name in models():
        rows = first_rows(name, version)
        said = switchyard("ask", name, "--rows", json.dumps(rows), "--alias", alias)
        if said["release"] != f"{name}/{version}" or len(said["predictions"]) != len(rows):
            raise AirflowFailException(f"{len(rows)} rows were predicted by {said['release']}: {said['predictions']}")
        return
    for question in get_current_context()["params"]["smoke_questions"] or first_questions(name):
        answer = switchyard("ask", name, question, "--alias", alias)
        if answer["release"] != f"{name}/{version}" or not answer["text"]:
            raise AirflowFailException(f"{question!r} was answered by {answer['release']}: {answer['text']!r}")


DAILY = CronTriggerTimetable(
    "0 5 * * *",
    timezone="UTC",
    run_immediately=timedelta(0),  # else the run of the day is made up for when Airflow first starts soon after it
)


@dag(
    dag_id="evaluate_and_promote",
    doc_md=__doc__,
    schedule=AssetOrTimeSchedule(timetable=DAILY, assets=KNOWLEDGE_BASE | CANDIDATE | ANSWER_DRIFT),
    catchup=False,
    max_active_runs=8,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=20), "execution_timeout": timedelta(minutes=10)},
    dagrun_timeout=timedelta(days=2),
    params={
        "name": Param(None, type=["null", "string"], title="Prompt or model", description="Empty: all prompts."),
        "version": Param(None, type=["null", "integer"], minimum=1, description="Empty: what nobody has judged yet."),
        "ask_a_person": Param(False, type="boolean", description="Ask for approval even if the policy does not."),
        "despite_rollback": Param(
            "", type="string", description="Why a version that was rolled back for a reason may be live again."
        ),
        "smoke_questions": Param([], type="array", items={"type": "string"}, description="Empty: its first cases."),
        "then": Param([], type="array", items={"type": "object"}, description="The candidates after this one."),
    },
    tags=["switchyard"],
)
def evaluate_and_promote() -> None:
    approval = ApprovalOperator(
        task_id="approval",
        subject="{{ ti.xcom_pull('choose')[0].name }}/{{ ti.xcom_pull('choose')[0].version }} to Production?",
        body="{% for reason in ti.xcom_pull('gate').reasons %}- {{ reason }}\n{% endfor %}",
        response_timeout=timedelta(hours=12),
        execution_timeout=None,
        retries=1,
    )
    next_run = TriggerDagRunOperator.partial(task_id="run_next", trigger_dag_id="evaluate_and_promote")
    to_staging = [choose(), ready(), evaluate(), replay(), gate(), accepted(), promote_to_staging()]
    decide, live, waited = who_decides(), promote_to_production(), in_production()
    smoked, rest = smoke_in_production(), others()
    to_staging.append(smoke_in_staging())
    announced = announce_promotion()
    chain(*to_staging, decide, [approval, live])
    approval >> live >> waited >> smoked >> [roll_back(), announced, rest]
    [*to_staging, decide, approval, live, waited, smoked, announced, rest] >> any_failure()
    next_run.expand(conf=rest)


evaluate_and_promote()
