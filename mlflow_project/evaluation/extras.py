"""What a run gets beside its scores, for MLflow's own pages: a sample of answers through `mlflow.genai.evaluate`, and
the metrics of the `evaluate` library.

In: finished runs with their outcomes. Out: traces with assessments, and metrics `library.…`. They decide nothing. Both
libraries take seconds to import, so a process of its own does that while the questions are asked; it ends with its
stdin, and so with whoever started it. `python -m mlflow_project.evaluation.extras` is that process.
"""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from mlflow_project.adapters.experiments import Experiments, Run
from mlflow_project.errors import Unavailable, WorkspaceError
from mlflow_project.evaluation.asking import Outcome
from mlflow_project.evaluation.library_metrics import check_known, import_library, library_metrics
from mlflow_project.evaluation.traces import log_traces, sample
from mlflow_project.rules.scorers import SCORERS
from mlflow_project.rules.scorers.context import Similarity
from mlflow_project.settings import RegistrySettings, load


@dataclass(frozen=True)
class Job:
    """One run: the outcomes that become traces, all outcomes for the library's metrics, and what scoring needs."""

    run: Run
    shown: tuple[Outcome, ...]
    outcomes: tuple[Outcome, ...]
    library: tuple[str, ...]
    schema: Mapping[str, Any] | None = None
    similarity: Similarity | None = None


class Extras:
    """A context: what was added is done when it is left. `traces` is the size of the sample; with none, and no metric
    of the library, no process is started.

    Raises:
        NotFound: there is no metric folder of a name. Unavailable, at the end: MLflow did not take them.
    """

    def __init__(self, traces: int, library: Sequence[str], home: Path) -> None:
        check_known(library)
        self.traces, self.library = traces, tuple(library)
        self._home, self._jobs = home, list[Job]()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin with the imports, if they are not begun yet."""
        if self._process is None and (self.traces or self.library):
            command = [sys.executable, "-m", "mlflow_project.evaluation.extras", str(self._home)]
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)

    def add(
        self, run: Run, outcomes: Sequence[Outcome], schema: Mapping[str, Any] | None, similarity: Similarity | None
    ) -> None:
        """What `__exit__` is to do for one run."""
        shown = tuple(sample(outcomes, self.traces, run.tags.get("switchyard.cases", "")))
        self._jobs.append(Job(run, shown, tuple(outcomes), self.library, schema, similarity))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        process = self._process
        if process is None:
            return
        if kind is not None or not self._jobs:
            process.kill()
            process.communicate()
            return
        said, log = process.communicate(pickle.dumps(self._jobs))
        if process.returncode != 0:
            why = said.decode().strip() or log.decode(errors="replace").strip().rpartition("\n")[2]
            raise Unavailable(f"The scores are kept, their traces are not: {why} `--again` makes new runs.")


def main(home: Path) -> int:
    """Read jobs from stdin and do them; an error that is meant for people goes to stdout."""
    import_library(home)
    importlib.import_module("mlflow.genai")
    received = sys.stdin.buffer.read()
    try:
        for job in pickle.loads(received) if received else ():
            _do(job)
    except WorkspaceError as error:
        sys.stdout.write(str(error))
        return error.exit_code
    return 0


def _do(job: Job) -> None:
    experiments = Experiments(load(RegistrySettings))
    if values := library_metrics(job.library, job.outcomes):
        experiments.log(job.run, metrics=values)
    if job.shown:
        log_traces(experiments.uri, job.run, job.shown, SCORERS, job.schema, job.similarity)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
