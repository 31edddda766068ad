"""Our scorers as metrics of the `evaluate` library, a folder each: `evaluate.load("mlflow_project/metrics/token_f1")`.

The folder's file may import one module a line only: the library reads the imports itself. It needs no network.
"""
