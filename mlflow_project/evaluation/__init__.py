"""Evaluation: cases are answered by the code that serves, scored, and kept as MLflow runs that the gate reads."""
