"""The code that serves and that evaluates: a release is warmed once, then answers questions.

`warm(release, ...) -> WarmRelease`, `await answer(warm, variables, ...) -> Answer`, `stream(warm, variables, ...)`.
Knows nothing of HTTP, aliases, seals or cases.
"""

from mlflow_project.answering.answer import answer, stream
from mlflow_project.answering.question import CallOptions
from mlflow_project.answering.warm import WarmRelease, warm

__all__ = ["CallOptions", "WarmRelease", "answer", "stream", "warm"]
