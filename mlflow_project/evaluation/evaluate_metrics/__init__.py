"""Two of our scorers as metrics of Hugging Face's `evaluate` library, one folder per metric.

Use one anywhere with `evaluate.load("mlflow_project/evaluation/evaluate_metrics/token_f1")`; no network is needed. In
these files write one import per line, because the library reads the import lines itself.
"""
