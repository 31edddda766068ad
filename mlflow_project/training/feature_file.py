"""`features.yaml` of a model's folder: where events and labels come from, what a row must satisfy, and the features.

table: s3a://curated-data-bucket/fraud/features
events:                                    raw events, from which the windows are computed; may be left out
  path: s3a://raw-data-bucket/fraud/transactions
  id: transaction_id                       two rows with one id are two versions of one event
  entity: account_id
  event_time: time                         when it happened
  known_at: known_at                       when it was known here
  columns: {amount: {type: number, min: 0}, channel: {type: text, among: [card, online]}}
labels:                                    the same form; `event_time` is when the model must decide
  ...
features:                                  aggregates of the events
  payments_1h: {aggregate: count, over: 1h}
  amount_7d: {aggregate: mean, of: amount, over: 7d, default: 0}
inputs:                                    columns made from the label's own row
  amount: {of: amount}
  hour: {of: time, part: hour}
  question: {of: text, vectors: true}      256 columns of WordLlama: question_000, ...
label: is_fraud                            the column of `labels` that the model learns
max_age: 30d                               older feature rows are not used
age: seconds_since_payment                 a column with the age of the feature row; may be left out
expectations: {max_rejected: 0.01, min_rows: 1000}
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from pydantic import Field, model_validator

from mlflow_project.rules.canonical import digest_of
from mlflow_project.rules.features.history import Aggregate, Kind
from mlflow_project.rules.features.lines import FieldType
from mlflow_project.training.files import ColumnName, Declaration, Duration, Number, Texts

VECTOR_COLUMNS = 256
RESERVED = frozenset({"id", "entity", "event_time", "known_at", "row_digest", "label"})


class Column(Declaration):
    """What a value of one column must satisfy."""

    type: FieldType
    nullable: bool = False
    min: Number = None
    max: Number = None
    among: Texts | None = None
    pattern: str | None = None

    @model_validator(mode="after")
    def _fits_its_type(self) -> Column:
        if self.type not in ("number", "integer") and (self.min is not None or self.max is not None):
            raise ValueError(f"min and max are for numbers, and this is a {self.type}")
        if self.type != "text" and (self.among or self.pattern):
            raise ValueError(f"among and pattern are for texts, and this is a {self.type}")
        try:
            re.compile(self.pattern or "")
        except re.error as error:
            raise ValueError(f"pattern is no regular expression: {error}") from error
        return self


class Source(Declaration):
    """Raw rows, in two times: a folder or file of JSON lines, or a Delta table."""

    path: str
    id: str
    entity: str | None = None
    event_time: str
    known_at: str
    columns: dict[ColumnName, Column] = Field(min_length=1)

    def fields(self) -> dict[str, FieldType]:
        """Every field that is read, with its type."""
        keys: dict[str, FieldType] = {self.id: "text", self.event_time: "time", self.known_at: "time"}
        if self.entity is not None:
            keys[self.entity] = "text"
        return {**keys, **{name: one.type for name, one in self.columns.items()}}

    @model_validator(mode="after")
    def _names_differ(self) -> Source:
        keys = [name for name in (self.id, self.entity, self.event_time, self.known_at) if name is not None]
        if len({*keys, *self.columns}) != len(keys) + len(self.columns):
            raise ValueError("id, entity, event_time, known_at and the columns must be different fields")
        if taken := sorted(RESERVED & set(self.columns)):
            raise ValueError(f"a column cannot be named {', '.join(taken)}")
        return self


class Feature(Declaration):
    """An aggregate of the events in the window that ends at a row's event time."""

    aggregate: Kind
    over: Duration
    of: str | None = None
    equal: str | float | bool | None = None
    encode: Texts | None = None
    default: Number = None

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Feature:
        if (self.of is None) != (self.aggregate == "count"):
            raise ValueError("every aggregate but count needs `of`, and count has none")
        if (self.equal is None) != (self.aggregate != "share"):
            raise ValueError("share needs `equal`, and no other aggregate has it")
        if self.encode and self.aggregate != "last":
            raise ValueError("`encode` is for last")
        return self


class Input(Declaration):
    """Columns made from the label's own row."""

    of: str
    encode: Texts | None = None
    part: Literal["hour", "weekday"] | None = None
    vectors: bool = False
    default: Number = None

    def names(self, name: str) -> list[str]:
        """The columns that it becomes."""
        return [f"{name}_{number:03}" for number in range(VECTOR_COLUMNS)] if self.vectors else [name]


class Expectations(Declaration):
    """What a run must satisfy before it may change the tables."""

    max_rejected: Number = Field(default=0.05, ge=0, le=1)
    min_rows: int = Field(default=1, ge=0)


class FeatureFile(Declaration):
    """The whole declaration."""

    table: str
    labels: Source
    label: str
    events: Source | None = None
    features: dict[ColumnName, Feature] = Field(default_factory=dict)
    inputs: dict[ColumnName, Input] = Field(default_factory=dict)
    max_age: Duration | None = None
    age: ColumnName | None = None
    expectations: Expectations = Field(default_factory=Expectations)

    @property
    def digest(self) -> str:
        """Names what the feature rows depend on: the events and the features."""
        events = self.events.model_dump(mode="json") if self.events else None
        features = {name: one.model_dump(mode="json") for name, one in self.features.items()}
        return digest_of({"events": events, "features": features})

    def aggregates(self) -> tuple[Aggregate, ...]:
        """The features, as `history` computes them."""
        return tuple(
            Aggregate(name, one.aggregate, one.over, one.of, one.equal, one.encode, one.default)
            for name, one in self.features.items()
        )

    def columns(self) -> list[str]:
        """The columns of a training set that a model may learn from, in order."""
        own = [column for name, one in self.inputs.items() for column in one.names(name)]
        return [*own, *self.features, *([self.age] if self.age else [])]

    @model_validator(mode="after")
    def _agrees(self) -> FeatureFile:
        if mistakes := list(self._mistakes()):
            raise ValueError("; ".join(mistakes))
        return self

    def _mistakes(self) -> Iterator[str]:
        if self.label not in self.labels.columns:
            yield f"the label {self.label!r} is not a column of labels"
        if self.features and (self.events is None or self.events.entity is None or self.labels.entity is None):
            yield "features need `events`, and an entity in both events and labels"
        if self.age and not self.features:
            yield "age is the age of a feature row, and there are no features"
        for name, feature in self.features.items():
            columns = self.events.columns if self.events else {}
            if feature.of is not None and feature.of not in columns:
                yield f"features.{name}: {feature.of!r} is not a column of events"
            elif feature.of is not None and (wrong := _unfit(columns[feature.of].type, feature)):
                yield f"features.{name}: {wrong}"
        for name, one in self.inputs.items():
            kind = self.labels.fields().get(one.of)
            if wrong := _unfit_input(kind, one):
                yield f"inputs.{name}: {wrong}"
            if one.of == self.label:
                yield f"inputs.{name}: the label itself would be an input"
        names = self.columns()
        if twice := sorted({name for name in names if names.count(name) > 1 or name in {*RESERVED, self.label}}):
            yield f"these names are taken twice: {', '.join(twice)}"
        if not names:
            yield "there are neither features nor inputs"


def _unfit(kind: FieldType, feature: Feature) -> str | None:
    if feature.aggregate in ("sum", "mean", "min", "max") and kind == "text":
        return f"{feature.aggregate} needs numbers, and {feature.of} is a text"
    if feature.aggregate == "last" and (kind == "text") != (feature.encode is not None):
        return "last of a text needs `encode`, and last of a number has none"
    return "times cannot be aggregated" if kind == "time" else None


def _unfit_input(kind: FieldType | None, one: Input) -> str | None:
    if kind is None:
        return f"{one.of!r} is not a field of labels"
    if sum((one.encode is not None, one.part is not None, one.vectors)) > 1:
        return "encode, part and vectors exclude each other"
    wanted: dict[str, bool] = {
        "text": one.encode is not None or one.vectors,
        "time": one.part is not None,
    }
    if kind in wanted and not wanted[kind]:
        return f"{one.of} is a {kind}: give {'encode or vectors' if kind == 'text' else 'part'}"
    if kind not in wanted and (one.encode or one.part or one.vectors):
        return f"{one.of} is a {kind}: leave out encode, part and vectors"
    if (kind == "text" and one.part) or (kind == "time" and (one.encode or one.vectors)):
        return f"{one.of} is a {kind}: encode and vectors are for texts, part is for times"
    return None
