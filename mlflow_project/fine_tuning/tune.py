"""Trains a model at the provider on a set of examples, once for each request, whatever crashes meanwhile.

In: a set, the base model and the number of epochs. Out: the finished job. Progress is kept in tags of one MLflow run
and in the metadata of the provider's job. Whoever runs the same request again continues where the first one stopped:
no file is uploaded twice, and no second job is paid for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mlflow_project.adapters.experiments import Experiments, Run
from mlflow_project.adapters.tuning_api import TuningApi, TuningJob, poll
from mlflow_project.errors import InvalidData, NotFound, Refused
from mlflow_project.fine_tuning.examples import ExampleSet
from mlflow_project.rules.canonical import digest_of

EXPERIMENT = "fine-tuning"
FIRST_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 60.0
_REQUEST, _JOB, _MODEL = "switchyard.tuning", "switchyard.tuning_job", "switchyard.tuned_model"


@dataclass(frozen=True)
class TuningRequest:
    """What to train. Two equal requests are the same job. `suffix` becomes a part of the tuned model's name."""

    examples: ExampleSet
    model: str
    epochs: int
    suffix: str

    @property
    def key(self) -> str:
        """The request's digest, short enough for the metadata of a job."""
        return digest_of([self.examples.digest, self.model, self.epochs, self.suffix]).removeprefix("sha256:")


class Tuning:
    """One request at one provider, with the MLflow run that keeps its state."""

    def __init__(self, api: TuningApi, experiments: Experiments, request: TuningRequest) -> None:
        self._api, self._experiments, self._request = api, experiments, request
        self.run = self._run()

    @property
    def address(self) -> str:
        """Where a person sees the run."""
        return self._experiments.address(self.run)

    def job(self) -> TuningJob | None:
        """The request's job, if it has one that neither failed nor was cancelled."""
        known = self.run.tags.get(_JOB)
        try:
            job = self._api.job(known) if known else None
        except NotFound:
            job = None
        if job is None or job.status in {"failed", "cancelled"}:
            job = self._api.find(self._request.key)
        return job

    def submit(self) -> TuningJob:
        """The request's job, made if there is none."""
        job = self.job()
        if job is None:
            examples = self._request.examples
            description = {
                "model": self._request.model,
                "suffix": self._request.suffix,
                "training_file": self._uploaded("train", examples.train),
                "method": {
                    "type": "supervised",
                    "supervised": {"hyperparameters": {"n_epochs": self._request.epochs}},
                },
            }
            if examples.validation:
                description["validation_file"] = self._uploaded("validation", examples.validation)
            job = self._created(description)
        self._keep(_JOB, job.id)
        return job

    def wait(self, job: TuningJob, tell: Callable[[TuningJob], None]) -> TuningJob:
        """Wait until the job is over."""
        return poll(lambda: self._api.job(job.id), tell, first=FIRST_PAUSE_SECONDS, longest=LONGEST_PAUSE_SECONDS)

    def finish(self, job: TuningJob) -> str:
        """Close the run of a job that is over. Returns the name of the tuned model.

        Raises:
            Refused: the provider did not train the model; the message says why.
        """
        if job.status != "succeeded" or job.tuned_model is None:
            self._experiments.finish(self.run, status="KILLED" if job.status == "cancelled" else "FAILED")
            raise Refused(
                f"The provider's job {job.id} ended as {job.status}{': ' + job.error if job.error else '.'} "
                "Nothing was registered. The same command begins a new job."
            )
        if self.run.status != "FINISHED":
            self._experiments.log(
                self.run, metrics={"trained_tokens": float(job.trained_tokens or 0)}, tags={_MODEL: job.tuned_model}
            )
            self._experiments.finish(self.run)
        return job.tuned_model

    def cancel(self) -> TuningJob:
        """Cancel the request's job.

        Raises:
            NotFound: there is no job of this request that is still at work.
        """
        job = self.job()
        if job is None or job.is_over:
            raise NotFound("No job of this set, model, number of epochs and name is at work. Nothing was cancelled.")
        cancelled = self._api.cancel(job.id)
        self._experiments.finish(self.run, status="KILLED")
        return cancelled

    def _run(self) -> Run:
        """The run of this request that is open or finished, or else a new one."""
        experiment, request = self._experiments.experiment(EXPERIMENT), self._request
        tags = {_REQUEST: request.key}
        for status in ("RUNNING", "FINISHED"):
            if known := self._experiments.find(experiment, tags, status=status):
                return known[0]
        run = self._experiments.start(experiment, f"tune {request.model} {request.suffix}", tags)
        parameters = {"model": request.model, "epochs": request.epochs, "source": request.examples.source}
        self._experiments.log(run, parameters=parameters)
        self._experiments.log_dataset(
            run,
            digest=request.examples.digest,
            source=request.examples.source,
            rows=request.examples.examples,
            context="train",
        )
        return run

    def _created(self, description: Mapping[str, Any]) -> TuningJob:
        """A new job. A refusal closes the run, so that the next try uploads its files anew."""
        try:
            return self._api.create(description, self._request.key)
        except InvalidData:
            self._experiments.finish(self.run, status="FAILED")
            raise

    def _uploaded(self, name: str, lines: bytes) -> str:
        """The id of a file at the provider, uploaded if no earlier try did it."""
        tag = f"switchyard.{name}_file"
        if tag not in self.run.tags:
            self._keep(tag, self._api.upload(f"{self._request.key[:12]}-{name}.jsonl", lines))
        return self.run.tags[tag]

    def _keep(self, tag: str, value: str) -> None:
        if self.run.tags.get(tag) != value:
            self._experiments.log(self.run, tags={tag: value})
            self.run = self._experiments.get(self.run.id)
