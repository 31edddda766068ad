"""Evaluation: asks cases by the code that serves, scores the answers, and logs MLflow runs that the gate reads."""
