"""`topics`, `ingest` and `dead-letters`: the topics of Kafka, their raw tables, and the records that broke a schema."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from mlflow_project.commands.arguments import Text
from mlflow_project.commands.knowledge import More, run_job
from mlflow_project.commands.output import Json, emit, reports_errors, table

if TYPE_CHECKING:
    from mlflow_project.dead_letters import DeadLetters

Where = Annotated[
    list[str], typer.Option("--where", metavar="FIELD=VALUE", help="Only these, as in reason=not_json. Repeatable.")
]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    topics = typer.Typer(help="The topics of Kafka.", no_args_is_help=True)
    topics.command("apply")(apply_topics)
    app.add_typer(topics, name="topics")
    app.command(context_settings=More)(ingest)
    letters = typer.Typer(help="Records of Kafka that broke their schema.", no_args_is_help=True)
    letters.command("list")(list_letters)
    letters.command("show")(show_letter)
    letters.command("redrive")(redrive)
    app.add_typer(letters, name="dead-letters")


@reports_errors
def apply_topics(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the file, and change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Create the topics that are missing, and change those that differ from `schemas/topics.yaml`.

    Deletes nothing, and takes no partitions away. A topic whose name begins with `events.` needs a schema.
    """
    _check_client()
    from mlflow_project.adapters.kafka import Cluster
    from mlflow_project.adapters.schema_folder import check_topics
    from mlflow_project.settings import KafkaSettings, load

    settings = load(KafkaSettings)
    plans = check_topics(settings.schemas_folder)
    changes = [] if dry_run else Cluster(settings).apply(plans)
    rows = [{"topic": one.topic, "outcome": one.outcome, "what": list(one.what)} for one in changes]
    if dry_run:
        rows = [{"topic": name, "outcome": "declared", "what": []} for name in plans]
    shown = [(row["topic"], row["outcome"], ", ".join(row["what"])) for row in rows]
    emit(rows, as_json, lambda console: console.print(table(("topic", "outcome", "what"), shown)))


@reports_errors
def ingest(more: typer.Context, as_json: Json = False) -> None:
    """Write what Kafka has now to the raw tables, and end.

    Refused while another writer runs, such as that of `make ingest`. Names of topics, and the other options of
    `spark_jobs/stream_ingest.py`, are passed on.
    """
    _check_client()
    run_job("spark-submit", "stream_ingest.py", ["--once", *more.args], as_json)


@reports_errors
def list_letters(where: Where = [], as_json: Json = False) -> None:  # noqa: B006 - Typer reads the default
    """List the dead letters that were not sent again, the oldest first."""
    from mlflow_project.dead_letters import conditions

    rows = [letter.summary() for letter in _dead_letters().open(conditions(where))]
    shown = [[row[name] for name in ("id", "reason", "sentence", "tries", "at")] for row in rows]
    emit(rows, as_json, lambda console: console.print(table(("id", "reason", "sentence", "tries", "at"), shown)))


@reports_errors
def show_letter(
    letter: Annotated[Text, typer.Argument(metavar="ID", parser=str, help="As `dead-letters list` shows it.")],
    as_json: Json = False,
) -> None:
    """Show one dead letter with its bytes."""
    found = _dead_letters().show(letter).to_dict()
    emit(found, as_json, lambda console: console.print(table(("field", "value"), list(found.items()))))


@reports_errors
def redrive(where: Where = [], as_json: Json = False) -> None:  # noqa: B006 - Typer reads the default
    """Send dead letters to their topics again, each with its bytes and its event id.

    Mend the cause first, for example by a new version of the schema. A record that is still wrong becomes a dead letter
    again, with one more try.
    """
    from mlflow_project.dead_letters import conditions

    sent = [letter.id for letter in _dead_letters().redrive(conditions(where))]
    emit({"redriven": sent}, as_json, lambda console: console.print(f"Sent {len(sent)} dead letters again."))


def _check_client() -> None:
    """Raises:
    Unavailable: Kafka's client is not installed here.
    """
    from mlflow_project.errors import Unavailable

    if find_spec("confluent_kafka") is None:
        raise Unavailable("Kafka's client is not installed here. `make ingest` installs it, and starts Kafka.")


def _dead_letters() -> DeadLetters:
    _check_client()
    from mlflow_project.dead_letters import DeadLetters
    from mlflow_project.settings import KafkaSettings, StoreSettings, load

    return DeadLetters(load(StoreSettings), load(KafkaSettings))
