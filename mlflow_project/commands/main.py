"""`switchyard`: assembles the command line.

Every command waits for the start-up, so this module imports nothing heavy. `main` answers `--version` at once, and
loads only the module of the command that was typed. Help, completion and unknown commands load all modules.
"""

from __future__ import annotations

import gc
import importlib
import sys
from typing import TYPE_CHECKING

from mlflow_project import __version__

if TYPE_CHECKING:
    import typer

MODULES = {
    "knowledge": ("prepare", "sql", "restore"),
    "indexing": ("index",),
    "searching": ("search",),
    "registration": ("new", "register"),
    "training": ("features", "train"),
    "versions": ("list", "show"),
    "evaluation": ("evaluate",),
    "tuning": ("tune",),
    "replay": ("replay",),
    "gate": ("gate",),
    "promotion": ("live", "promote", "rollback", "approve", "diff", "repair", "reconcile"),
    "shadow": ("shadow",),
    "rollouts": ("rollout",),
    "drift": ("drift",),
    "feedback": ("review", "cases"),
    "fine_tuning": ("fine-tune",),
    "record": ("history", "at", "verify", "ledger"),
    "lineage": ("lineage",),
    "catalog": ("catalog",),
    "serving": ("follow", "ask", "keys"),
    "console": ("console",),
    "guard": ("guard",),
    "ingestion": ("topics", "ingest", "dead-letters"),
    "hosts": ("hosts",),
    "providers": ("providers",),
    "doctor": ("doctor",),
}
"""Each module of `mlflow_project.commands`, and the commands that its `add_to(app)` adds, in the order of the help."""


def build(command: str | None = None) -> typer.Typer:
    """The command line: all of it, or only the module that holds one command."""
    import typer

    app = typer.Typer(
        name="switchyard",
        help="Flip an alias, and the traffic moves.",
        epilog="Exit codes: 0 done; 1 internal error (please report it); 2 wrong usage or input; "
        "3 a service cannot be reached; 4 refused by a rule.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # plain text: with rich, Typer prints Python's types beside each option
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    _add_options(app)
    wanted = [module for module, commands in MODULES.items() if command in commands]
    for module in wanted or MODULES:
        importlib.import_module(f"mlflow_project.commands.{module}").add_to(app)
    return app


def main() -> None:
    """The console script. An unexpected error ends with exit code 1 and says where its stack trace was written."""
    arguments = sys.argv[1:]
    if arguments == ["--version"]:
        sys.stdout.write(f"switchyard {__version__}\n")
        return
    from mlflow_project.logs import record_defect, set_up_logs
    from mlflow_project.private_files import keep_files_private

    keep_files_private()
    set_up_logs()
    try:
        build(arguments[0] if arguments else None)()
    except Exception as error:
        sys.stderr.write(f"Internal error in Switchyard: {type(error).__name__}: {error}\n{record_defect()}\n")
        sys.exit(1)
    finally:
        gc.freeze()  # spares the last collection what MLflow has loaded: 0.1 s instead of 1.1 s after the result


def _add_options(app: typer.Typer) -> None:
    import typer

    def show_version(asked: bool) -> None:
        if asked:
            typer.echo(f"switchyard {__version__}")
            raise typer.Exit

    @app.callback()
    def options(
        version: bool = typer.Option(
            False, "--version", callback=show_version, is_eager=True, help="Show the version and exit."
        ),
    ) -> None:
        """Flip an alias, and the traffic moves."""
