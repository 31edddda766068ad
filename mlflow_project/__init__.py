"""The shared library of Switchyard and its command line: domain, rules, registry, evaluation, gate, seal, ledger,
promotion. `serving` and `spark_jobs` stand on it; it imports neither of them."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
"""Threads of LightGBM and scikit-learn sleep while they wait, instead of spinning on processors that others need. It
stands here because OpenMP reads it once, when the first library that uses it is loaded."""

__version__ = "0.1.0"
