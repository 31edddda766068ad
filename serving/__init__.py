"""The HTTP server: resolves an alias to a warm release, answers with it, and says which release it was.

It builds on `answering` and `snapshot` of `mlflow_project`. It never imports MLflow, boto3, Spark or the follower: it
learns what is live from the files of the serving folder.
"""
