"""Estimators by kind: `estimator(kind, task, parameters, seed, threads)`, and the parameters that a search tries.

Every estimator is scikit-learn's or has its interface (LightGBM's classes have), takes a frame of 64-bit floats with
nulls as NaN, and gives the same result for the same rows, seed and threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mlflow_project.errors import ConfigError, InvalidData
from mlflow_project.training.model_file import Kind, Task

ONE_THREAD: frozenset[Kind] = frozenset({"support_vectors", "random_forest"})
"""Kinds that use one thread for a fit, outside of Python's lock: several folds are fitted at once, each as if alone."""
Suggest = Callable[[Any], dict[str, Any]]


def estimator(kind: Kind, task: Task, parameters: Mapping[str, Any], seed: int, threads: int) -> Any:
    """A new, unfitted estimator.

    Raises:
        InvalidData: it has no such parameter. ConfigError: LightGBM cannot be loaded here.
    """
    made = _MAKE[kind](task, seed, threads)
    unknown = sorted(set(parameters) - set(made.get_params()))
    if unknown:
        known = ", ".join(sorted(made.get_params()))
        raise InvalidData(f"{kind} of a {task} has no parameter {', '.join(unknown)}. It has: {known}.")
    made.set_params(**parameters)
    return _prepared(kind, made)


def _prepared(kind: Kind, model: Any) -> Any:
    """With what must happen to the columns first."""
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    fill = SimpleImputer(strategy="median", keep_empty_features=True)
    if kind in ("linear", "support_vectors"):
        return make_pipeline(fill, StandardScaler(), model)
    return make_pipeline(fill, model) if kind == "random_forest" else model


def _linear(task: Task, seed: int, threads: int) -> Any:
    from sklearn.linear_model import LogisticRegression, Ridge

    return LogisticRegression(max_iter=1_000) if task == "classifier" else Ridge()


def _support_vectors(task: Task, seed: int, threads: int) -> Any:
    from sklearn.svm import SVC, SVR

    return SVC(random_state=seed) if task == "classifier" else SVR()


def _random_forest(task: Task, seed: int, threads: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    # One thread: several add up the trees' answers in the order in which they finish, and the last digits differ.
    chosen = RandomForestClassifier if task == "classifier" else RandomForestRegressor
    return chosen(random_state=seed, n_jobs=1)


def _gradient_boosting(task: Task, seed: int, threads: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    chosen = HistGradientBoostingClassifier if task == "classifier" else HistGradientBoostingRegressor
    return chosen(random_state=seed)


def _lightgbm(task: Task, seed: int, threads: int) -> Any:
    try:
        from lightgbm import LGBMClassifier, LGBMRegressor
    except OSError as error:
        raise ConfigError(
            f"LightGBM cannot be loaded ({error}): install libgomp (Debian: apt-get install libgomp1)."
        ) from error
    chosen = LGBMClassifier if task == "classifier" else LGBMRegressor
    return chosen(random_state=seed, n_jobs=threads, deterministic=True, force_row_wise=True, verbosity=-1)


_MAKE: Mapping[Kind, Callable[[Task, int, int], Any]] = {
    "linear": _linear,
    "random_forest": _random_forest,
    "gradient_boosting": _gradient_boosting,
    "support_vectors": _support_vectors,
    "lightgbm": _lightgbm,
}


def suggested(kind: Kind, task: Task, trial: Any) -> dict[str, Any]:
    """The parameters that an Optuna trial tries for a kind."""
    if kind == "linear":
        return {"C" if task == "classifier" else "alpha": trial.suggest_float("strength", 1e-3, 1e3, log=True)}
    if kind == "support_vectors":
        return {"C": trial.suggest_float("C", 1e-2, 1e3, log=True)}
    if kind == "random_forest":
        return {
            "n_estimators": trial.suggest_int("n_estimators", 50, 400, step=50),
            "min_samples_leaf": trial.suggest_int("min_samples_leaf", 1, 30, log=True),
        }
    if kind == "gradient_boosting":
        return {
            "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.3, log=True),
            "max_leaf_nodes": trial.suggest_int("max_leaf_nodes", 7, 63),
        }
    return {
        "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.3, log=True),
        "num_leaves": trial.suggest_int("num_leaves", 7, 127, log=True),
        "min_child_samples": trial.suggest_int("min_child_samples", 5, 100, log=True),
        "n_estimators": trial.suggest_int("n_estimators", 50, 400, step=50),
    }
