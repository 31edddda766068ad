"""Drift of live traffic: compares each release's newest answers with its reference window.

In: the table of live answers. Out: an MLflow run with pictures, rows of a Delta table, metrics and, if something
drifted, an event for Airflow. `rules.drift` has the statistics.
"""
