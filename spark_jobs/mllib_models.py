"""Linear models that Spark MLlib fits, copied into equal models of scikit-learn.

In: a Spark DataFrame of features and labels. Out: a pipeline of scikit-learn with MLlib's coefficients. So the model is
kept, sealed, loaded and served like every other one, and no host that serves it needs Spark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pyspark.ml.classification import LogisticRegression
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.regression import LinearRegression
from pyspark.sql import DataFrame
from pyspark.sql import functions as f

from mlflow_project.errors import InvalidData, WorkspaceError
from mlflow_project.training.model_file import Task

LABEL = "label of the training"
_FEATURES = "features of the training"
_PARAMETERS = frozenset({"regParam", "elasticNetParam", "maxIter", "tol", "fitIntercept", "standardization"})
_MOST_DIFFERENCE = 1e-9
_ROWS_COMPARED = 200


def fitted(
    task: Task, parameters: Mapping[str, Any], rows: DataFrame, columns: Sequence[str], classes: Sequence[Any] | None
) -> Any:
    """A fitted pipeline of scikit-learn.

    Args:
        rows: the columns as doubles, and `LABEL`: of a classifier the position of the class in `classes`.

    Raises:
        InvalidData: MLlib has no such parameter, or refuses its value.
        WorkspaceError: the copy does not predict what MLlib's model predicts.
    """
    medians = [found[0] if found else 0.0 for found in rows.approxQuantile(list(columns), [0.5], 0.001)]
    filled = rows.select(
        *(_filled(name, median).alias(name) for name, median in zip(columns, medians, strict=True)), LABEL
    )
    vectors = VectorAssembler(inputCols=list(columns), outputCol=_FEATURES).transform(filled)
    found = _estimator(task, parameters, 2 if classes is None else len(classes)).fit(vectors)
    if classes is None:
        copy = _as_pipeline(columns, medians, _regression(found.coefficients.toArray(), found.intercept))
    else:
        copy = _as_pipeline(columns, medians, _classifier(found, classes))
    _check_equal(copy, found, vectors, columns, is_classifier=classes is not None)
    return copy


def _filled(name: str, median: float) -> Any:
    column = f.col(f"`{name}`")
    return f.when(column.isNull() | f.isnan(column), f.lit(float(median))).otherwise(column)


def _estimator(task: Task, parameters: Mapping[str, Any], classes: int) -> Any:
    if unknown := sorted(set(parameters) - _PARAMETERS):
        raise InvalidData(
            f"library: spark has no parameter {', '.join(unknown)} of a linear {task}. It has: "
            f"{', '.join(sorted(_PARAMETERS))}."
        )
    columns = {"featuresCol": _FEATURES, "labelCol": LABEL}
    try:
        if task == "classifier":
            family = "binomial" if classes == 2 else "multinomial"
            return LogisticRegression(**columns, family=family, **parameters)
        return LinearRegression(**columns, **parameters)
    except (TypeError, ValueError) as error:
        raise InvalidData(f"MLlib refuses a parameter: {error}") from error


def _classifier(found: Any, classes: Sequence[Any]) -> Any:
    from sklearn.linear_model import LogisticRegression as Classifier

    binary = len(classes) == 2
    coefficients = found.coefficients.toArray()[None, :] if binary else found.coefficientMatrix.toArray()
    intercepts = np.array([found.intercept]) if binary else found.interceptVector.toArray()
    model = Classifier().fit(np.zeros((len(classes), coefficients.shape[1])), np.asarray(classes))
    model.coef_, model.intercept_ = coefficients, intercepts
    return model


def _regression(coefficients: Any, intercept: float) -> Any:
    from sklearn.linear_model import LinearRegression as Regression

    model = Regression().fit(np.zeros((2, len(coefficients))), np.zeros(2))
    model.coef_, model.intercept_ = coefficients, intercept
    return model


def _as_pipeline(columns: Sequence[str], medians: Sequence[float], model: Any) -> Any:
    """The model behind an imputer that knows the medians, because one row of them has these medians."""
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline

    imputer = SimpleImputer(strategy="median", keep_empty_features=True)
    return make_pipeline(imputer.fit(pd.DataFrame([list(medians)], columns=list(columns))), model)


def _check_equal(copy: Any, found: Any, vectors: DataFrame, columns: Sequence[str], is_classifier: bool) -> None:
    """Compare the two models on some training rows."""
    answer = "probability" if is_classifier else "prediction"
    some = found.transform(vectors.limit(_ROWS_COMPARED)).select(*(f"`{name}`" for name in columns), answer).collect()
    frame = pd.DataFrame([row[:-1] for row in some], columns=list(columns))
    theirs = np.array([row[answer].toArray() if is_classifier else row[answer] for row in some])
    ours = copy.predict_proba(frame) if is_classifier else copy.predict(frame)
    difference = float(np.max(np.abs(ours - theirs) / np.maximum(1.0, np.abs(theirs)), initial=0.0))
    if not difference <= _MOST_DIFFERENCE:
        raise WorkspaceError(
            f"The copy of MLlib's model differs from it by {difference:.1e}, and at most {_MOST_DIFFERENCE:.0e} is "
            "allowed. Nothing was registered; please report it."
        )
