"""Doors to the outside: object store, MLflow's registry and runs, providers, retrieval. Each translates its library's
errors once into `mlflow_project.errors`."""
