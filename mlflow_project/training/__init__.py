"""Classic models before their release: training, and registration in MLflow."""
