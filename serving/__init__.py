"""The HTTP server: resolves an alias to a warm release, answers with it, and says which release it was.

Stands on `answering` and `snapshot` of `mlflow_project`; never imports MLflow, boto3, Spark or the follower: what is
live comes from the files of the serving folder alone.
"""
