"""How commands speak: what they print is what they were given."""

from io import StringIO

from rich.console import Console

from mlflow_project.commands.output import table
from mlflow_project.commands.progress import Rate


def test_square_brackets_in_a_cell_are_text() -> None:
    out = StringIO()
    Console(file=out, width=80).print(table(["path", "note"], [("[/usr/bin]", "[note]"), (None, 3)]))
    assert "[/usr/bin]" in out.getvalue()
    assert "[note]" in out.getvalue()


def test_progress_tells_seconds_per_answer_and_the_time_left_of_a_slow_provider() -> None:
    now = 1000.0
    rate = Rate(lambda: now)
    assert rate.after(40, 100, 0.0) == "40 known already, 0.0000 USD", "kept answers took no time"
    now += 60
    assert rate.after(42, 100, 0.25) == "30.0 s per answer, 29 min left, 0.2500 USD"
    now += 0.5
    assert rate.after(100, 100, 0.25) == "1.0 s per answer, 0.2500 USD"


def test_progress_tells_answers_per_second_of_a_fast_provider() -> None:
    now = 1000.0
    rate = Rate(lambda: now)
    assert rate.after(0, 100, 0.0) == "0.0000 USD"
    now += 2
    assert rate.after(20, 100, 0.0) == "10.0 answers/s, 8 s left, 0.0000 USD"
