"""Spark jobs: pure functions on DataFrames, and thin programs for `spark-submit` on any master."""
