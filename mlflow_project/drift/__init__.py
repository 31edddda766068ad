"""Drift of live traffic: each release's window against the reference that was pinned to it.

In: the table of live answers. Out: what was found, as an MLflow run with pictures, a Delta table, metrics and, where
something drifted, an event for Airflow. The statistics are `rules.drift`'s.
"""
