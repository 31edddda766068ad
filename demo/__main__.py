"""`make demo`: the main job on a running stack, by public commands. Out: what they printed, and a closing table.

It never decides for a command: exit codes and verdicts are the commands' own. A second run finds what the first one
made and says so; a run after an interrupted one first puts things in order (`repair`, `reconcile`, version 1 again).
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from demo import shell
from demo.shell import console, read, run, say, show, step
from mlflow_project.api_keys import KeyFile, by_id, owner_of
from mlflow_project.errors import Unavailable, WorkspaceError
from mlflow_project.private_files import write_private
from mlflow_project.settings import (
    ClientSettings,
    ConsoleSettings,
    KeySettings,
    RegistrySettings,
    StoreSettings,
    load,
    state_folder,
)

RAW = "s3a://raw-data-bucket/articles/raw_docs.json"
CHUNKS = "s3a://curated-data-bucket/llm_prepared_docs"
QUESTION = "Who signs a release, and with what?"
PAYMENTS = "s3a://curated-data-bucket/fraud/payments_{days}_days"
PAYMENT = {
    "amount": 480.0,
    "channel": 1,
    "abroad": 1,
    "hour": 3,
    "payments_1h": 5,
    "payments_24h": 6,
    "amount_mean_30d": 35.0,
    "amount_max_30d": 90.0,
    "amount_sum_24h": 1400.0,
    "online_share_30d": 0.3,
    "merchants_24h": 6,
    "last_channel": 1,
    "seconds_since_payment": 240.0,
}
"""Five payments within an hour, abroad and at night, of an account that pays 35 on average."""
STEPS = 9


def main() -> int:
    """Run all the steps; 0 when each did what it should."""
    started = time.monotonic()
    try:
        announce_console()
        prepare()
        versions = register()
        first_release(versions["v1.md"])
        second_release(versions["v2.md"])
        third_is_refused(versions["v2.md"])
        roll_back()
        release_a_model()
        closing(versions["v2.md"], time.monotonic() - started)
    except (shell.StepFailed, WorkspaceError) as error:
        return stopped(str(error), error.exit_code)
    except httpx.HTTPError as error:
        return stopped(f"{error.request.url} does not answer ({type(error).__name__}).", Unavailable.exit_code)
    except KeyboardInterrupt:
        return stopped("interrupted. Nothing is lost: the next run puts things in order first.", 130)
    return 0


def stopped(why: str, exit_code: int) -> int:
    """Say why, and what to do."""
    console.print(f"\nThe demo stopped: {why}", style="red", markup=False)
    console.print("`make status` and `make logs` tell more; run `make demo` again when it is mended.", style="red")
    return exit_code


def announce_console() -> None:
    """Say where the console is, and with which key one can change something there. The key is made once, and lies in a
    file that only its owner can read."""
    place = state_folder() / "keys" / "console.key"
    file = KeyFile(load(KeySettings).api_keys_file)
    if not place.exists() or owner_of(place.read_text().strip(), by_id(file.all())) is None:
        token, _ = file.create("demo", ("operator", "approver"))
        write_private(place, f"{token}\n")
    console.print(f"The web console: {load(ConsoleSettings).console_url}", style="bold", markup=False)
    say(f"Everybody on this machine may look. To change something, sign in with the key in {os.path.relpath(place)}.")


def prepare() -> None:
    """Documentation -> raw JSON lines -> chunks in Delta -> a search index of exactly that Delta version."""
    step(1, STEPS, "The project's own documentation goes to the object store, one line broken on purpose")
    say(f"To repeat a command by hand, type `source {stack_file()}` first, and put .venv/bin on your PATH.")
    run("python", "-m", "demo.corpus", "docs/guide", RAW)
    step(2, STEPS, "Spark turns raw text into chunks in Delta Lake; the broken line goes to quarantine")
    run("spark-submit", "spark_jobs/llm_data_prep.py", RAW, CHUNKS)
    run("switchyard", "sql", f"SELECT reason, count(*) AS lines FROM delta.`{CHUNKS}_quarantine` GROUP BY reason")
    run("switchyard", "index", CHUNKS, "--vectors")


def register() -> dict[str, int]:
    """Prompt versions 1 and 2, pinned to the knowledge base. Returns version numbers by template file."""
    step(3, STEPS, "Prompt versions are registered in MLflow, pinned to the knowledge base")
    templates = ("--template", "v1.md", "--template", "v2.md")
    run("switchyard", "register", "prompts/qa", *templates)
    run("switchyard", "register", "prompts/sentiment_analysis")
    return {row["template"]: row["version"] for row in read("switchyard", "register", "prompts/qa", *templates)}


def first_release(version: int) -> None:
    """Version 1 passes its floors, is sealed and promoted, and answers."""
    step(4, STEPS, f"qa/{version} is evaluated, sealed and promoted; the server answers with it")
    run("switchyard", "repair")
    if in_production("qa") is not None:
        run("switchyard", "reconcile", "qa")
    begin_with("qa", version)
    run("switchyard", "ask", "qa", QUESTION)


def begin_with(name: str, version: int) -> None:
    """Make this version live, whatever an earlier run left."""
    live = in_production(name)
    if live == version:
        say(f"{name}/{version} is live already.")
    elif live is not None and was_live(name, version):
        run("switchyard", "rollback", name, "--to", str(version), "--reason", "the demo begins again")
    else:
        release(name, version)


def second_release(version: int) -> None:
    """Version 2 is measured against version 1 on the same questions, and replaces it."""
    step(5, STEPS, f"qa/{version} is evaluated against what is live, on the same questions, and promoted")
    release("qa", version)
    run("switchyard", "ask", "qa", QUESTION)


def release(name: str, version: int) -> None:
    """Evaluate, gate (which seals) and promote one version."""
    run("switchyard", "evaluate", f"{name}/{version}", "--against", "Production", "--plain")
    run("switchyard", "gate", f"{name}/{version}")
    again = ("--despite-rollback", "the demo runs again") if was_live(name, version) else ()
    run("switchyard", "promote", f"{name}/{version}", "--to", "Production", *again)


def third_is_refused(live: int) -> None:
    """Version 3 is refused by the gate; moved behind its back, it is not served."""
    step(6, STEPS, "A worse version is refused, and not served even when the alias is moved to it")
    run("switchyard", "register", "prompts/qa", "--template", "v3.md")
    worse = read("switchyard", "register", "prompts/qa", "--template", "v3.md")[0]["version"]
    run("switchyard", "evaluate", f"qa/{worse}", "--against", "Production", "--plain")
    run("switchyard", "gate", f"qa/{worse}", expect=4)
    move_alias_by_hand(worse)
    run("switchyard", "ask", "qa", QUESTION)
    show_releases(refused=worse)
    run("switchyard", "reconcile", "qa")
    if in_production("qa") != live:
        raise shell.StepFailed(f"Production of qa should be {live} again, and is {in_production('qa')}")


def roll_back() -> None:
    """Back to what was live before."""
    step(7, STEPS, "Rollback")
    run("switchyard", "rollback", "qa", "--reason", "the demo shows a rollback")
    run("switchyard", "ask", "qa", QUESTION)


def release_a_model() -> None:
    """`fraud` is trained twice; the version that has seen more payments replaces the other, and is rolled back."""
    step(8, STEPS, "A model goes the same way: trained on generated payments, sealed, promoted, asked, rolled back")
    run("python", "-m", "demo.model_data", "payments")
    fewer, more = (trained_on(PAYMENTS.format(days=days)) for days in (30, 40))
    if (live := in_production("fraud")) not in (None, fewer, more):
        say(f"fraud/{live} is live, which the demo did not train: it stays.")
        return
    begin_with("fraud", fewer)
    release("fraud", more)
    run("switchyard", "ask", "fraud", "--rows", json.dumps([PAYMENT]))
    run("switchyard", "rollback", "fraud", "--reason", "the demo shows a rollback")
    run("switchyard", "ask", "fraud", "--rows", json.dumps([PAYMENT]))


def trained_on(table: str) -> int:
    """Train `fraud` on a table. Returns the version, which is that of an earlier run if it trained on the same rows."""
    version: int = show("switchyard", "train", "fraud", "--data", table)["version"]
    return version


def in_production(name: str) -> int | None:
    """The version of a prompt or model that is live by the record."""
    rows: list[dict[str, Any]] = read("switchyard", "live")
    return next((row["version"] for row in rows if row["name"] == name and row["alias"] == "Production"), None)


def was_live(name: str, version: int) -> bool:
    """Whether the record says that this version was live before."""
    rows: list[dict[str, Any]] = read("switchyard", "history", name)
    flips = [row for row in rows if row["type"] in {"flip", "rollback"} and row.get("alias") == "Production"]
    return any(row["version"] == version for row in flips)


def stack_file() -> Path:
    """Where this stack's addresses and credentials are kept."""
    return Path(os.path.relpath(state_folder() / "stack.env"))


def move_alias_by_hand(version: int) -> None:
    """What a click in MLflow's UI does, and what any client with access can do: the alias moves without a gate."""
    address = load(RegistrySettings).mlflow_uri + "/api/2.0/mlflow/registered-models/alias"
    body = {"name": "qa", "alias": "Production", "version": str(version)}
    say("Somebody moves the alias behind the gate's back, through MLflow's own API:")
    console.print(
        f"$ curl -X POST {address} -H 'Content-Type: application/json' "
        f'-d \'{{"name": "qa", "alias": "Production", "version": "{version}"}}\'',
        style="cyan",
        markup=False,
    )
    httpx.post(address, json=body, timeout=10).raise_for_status()


def show_releases(refused: int) -> None:
    """The server's own account, once the follower has seen the moved alias.

    Raises:
        StepFailed: the server does not report the refusal within five seconds.
    """
    client = load(ClientSettings)
    address = client.api_url + "/releases"
    headers = {"Authorization": f"Bearer {client.api_key.get_secret_value()}"} if client.api_key else {}
    console.print(f"$ curl -s {address}", style="cyan", markup=False)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        answer = httpx.get(address, headers=headers, timeout=5).raise_for_status()
        if any(row["version"] == refused for row in answer.json()["refused"]):
            console.print_json(answer.text)
            return
        time.sleep(0.1)
    raise shell.StepFailed(f"/releases does not say that qa/{refused} was refused: {answer.text}")


def closing(better: int, seconds: float) -> None:
    """What is live, where to look, what to try next."""
    step(9, STEPS, "What is live, and where to look")
    run("switchyard", "live")
    api = load(ClientSettings).api_url
    comparison = read("switchyard", "gate", f"qa/{better}", "--dry-run")["comparison"]
    for what, where in (
        ("The web console", load(ConsoleSettings).console_url),
        ("The two runs side by side in MLflow", comparison),
        ("MinIO's console", load(StoreSettings).s3_console),
        ("The API's documentation", f"{api}/docs"),
        ("Credentials (yours alone)", str(stack_file())),
    ):
        console.print(f"  {what:38} {where}", markup=False)
    say("Try next:")
    for command in (
        f"curl -si {api}/llm-query/ -H 'Content-Type: application/json' -d '{{\"text_input\": \"{QUESTION}\"}}'",
        "switchyard list",
        "switchyard history qa --why",
        "switchyard verify qa@Production",
        "make status   (what runs)      make down   (stops all of it)",
    ):
        console.print(f"  {command}", markup=False)
    console.print(f"\nThe main job is done: {seconds:.0f} s.", style="bold green")


if __name__ == "__main__":
    sys.exit(main())
