"""How commands speak: what they print is what they were given."""

from io import StringIO

from rich.console import Console

from mlflow_project.commands.output import table


def test_square_brackets_in_a_cell_are_text() -> None:
    out = StringIO()
    Console(file=out, width=80).print(table(["path", "note"], [("[/usr/bin]", "[note]"), (None, 3)]))
    assert "[/usr/bin]" in out.getvalue()
    assert "[note]" in out.getvalue()
