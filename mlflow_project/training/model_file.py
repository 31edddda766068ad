"""`model.yaml` of a model's folder: what is trained, on which rows, and how.

task: classifier                      or regressor
label: is_fraud
features: [amount, payments_1h]       the model's inputs; `text_*` stands for all columns that begin so
data: s3a://curated-data-bucket/fraud/features_training
test: {share: 0.2, by: time}          the newest rows; or {share: 0.2, by: random}; or {table: s3a://...}
metric: average_precision             decides between candidates, by cross-validation
folds: 5                              by time where the test set is, else stratified
seed: 7
threads: 2
output: label                         what `predict` returns; or probability
candidates:
  logistic: {kind: linear, C: 1.0}    other keys are parameters of the estimator
  trees: {kind: lightgbm, n_estimators: 200}
  large: {kind: linear, library: spark, regParam: 0.01}    trained by Spark MLlib; then every candidate must be
search: {trials: 20}                  Optuna tries other parameters of every candidate; may be left out
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from mlflow_project.errors import InvalidData
from mlflow_project.rules.canonical import digest_of
from mlflow_project.training.files import ColumnName, Declaration, Number, Texts

Task = Literal["classifier", "regressor"]
Kind = Literal["linear", "random_forest", "gradient_boosting", "support_vectors", "lightgbm"]

METRICS: dict[Task, dict[str, str]] = {
    "classifier": {
        "accuracy": "accuracy",
        "f1_macro": "f1_macro",
        "roc_auc": "roc_auc_ovr",
        "average_precision": "average_precision",
        "log_loss": "neg_log_loss",
    },
    "regressor": {"rmse": "neg_root_mean_squared_error", "mae": "neg_mean_absolute_error", "r2": "r2"},
}
"""Our name of each metric, and scikit-learn's name of its scorer."""


class TestSet(Declaration):
    """Which rows no candidate sees: a share of the rows, or a table of its own."""

    share: Number = None
    by: Literal["time", "random"] = "random"
    table: str | None = None

    @model_validator(mode="after")
    def _is_one_of_them(self) -> TestSet:
        if (self.share is None) == (self.table is None):
            raise ValueError("give either share or table")
        if self.share is not None and not 0 < self.share < 1:
            raise ValueError("share must lie between 0 and 1")
        return self


class Candidate(Declaration):
    """A kind of estimator, with parameters of its own."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    kind: Kind
    library: Literal["spark"] | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """What the estimator is made with."""
        return dict(self.model_extra or {})


class Search(Declaration):
    """Optuna's search."""

    trials: int = Field(ge=1, le=10_000)


class ModelFile(Declaration):
    """The whole declaration."""

    task: Task
    label: str
    features: Texts
    metric: str
    candidates: dict[ColumnName, Candidate] = Field(min_length=1)
    data: str | None = None
    test: TestSet = TestSet(share=0.2)
    folds: int = Field(default=5, ge=2, le=50)
    seed: int = Field(default=0, ge=0, le=2**32 - 1)
    threads: int = Field(default=2, ge=1, le=256)
    output: Literal["label", "probability"] = "label"
    search: Search | None = None

    @property
    def digest(self) -> str:
        """Names the declaration."""
        return digest_of(self.model_dump(mode="json"))

    @property
    def on_spark(self) -> bool:
        """Whether Spark trains all candidates, so that the rows need not fit into one machine's memory."""
        return all(one.library == "spark" for one in self.candidates.values())

    @property
    def scorer(self) -> str:
        """scikit-learn's name of the deciding metric."""
        return METRICS[self.task][self.metric]

    def columns(self, there: Sequence[str]) -> list[str]:
        """The model's inputs among a table's columns.

        Raises:
            InvalidData: a feature is not there, or the label is one.
        """
        found: list[str] = []
        for pattern in self.features:
            matched = [name for name in there if fnmatchcase(name, pattern)]
            if not matched:
                raise InvalidData(f"The data has no column {pattern!r}. Its columns: {', '.join(sorted(there)[:30])}.")
            found += [name for name in matched if name not in found]
        if self.label in found:
            raise InvalidData(f"The label {self.label!r} is among the features: the model would read the answer.")
        return found

    @model_validator(mode="after")
    def _agrees(self) -> ModelFile:
        if mistakes := list(self._mistakes()):
            raise ValueError("; ".join(mistakes))
        return self

    def _mistakes(self) -> Iterator[str]:
        if self.metric not in METRICS[self.task]:
            yield f"metric {self.metric!r} is none of a {self.task}: {', '.join(METRICS[self.task])}"
        if self.output == "probability" and self.task != "classifier":
            yield "only a classifier has probabilities: leave out output"
        libraries = {one.library for one in self.candidates.values()}
        if len(libraries) > 1:
            yield "candidates: either all or none have library: spark, because one training reads the rows in one way"
        if "spark" in libraries and self.search is not None:
            yield "search: candidates of Spark are not searched; declare one candidate for each set of parameters"
        for name, one in self.candidates.items():
            if one.library == "spark" and one.kind != "linear":
                yield f"candidates.{name}: library: spark trains the kind linear only"
            if one.kind == "support_vectors" and (self.output == "probability" or self.metric == "log_loss"):
                yield f"candidates.{name}: support vectors give no probabilities"
