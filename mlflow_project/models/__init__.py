"""Loads models and runs them: one loading function for the server, the evaluation and the batch jobs.

In: a folder with sealed files, the manifest of a release, and rows. Out: predictions. Imports no MLflow. scikit-learn,
LightGBM and pandas are imported when the first model is loaded, so a server that serves prompts alone imports none.
"""
