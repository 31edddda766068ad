"""`topics`: creates the topics of Kafka that `schemas/topics.yaml` declares."""

from __future__ import annotations

from typing import Annotated

import typer

from mlflow_project.commands.output import Json, emit, reports_errors, table


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    topics = typer.Typer(help="The topics of Kafka.", no_args_is_help=True)
    topics.command("apply")(apply_topics)
    app.add_typer(topics, name="topics")


@reports_errors
def apply_topics(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the file, and change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Create the topics that are missing, and change those that differ from `schemas/topics.yaml`.

    Deletes nothing, and takes no partitions away. A topic whose name begins with `events.` needs a schema.
    """
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
