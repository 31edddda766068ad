"""The shared library of Switchyard and its command line: domain, rules, registry, evaluation, gate, seal, ledger,
promotion. `serving` and `spark_jobs` stand on it; it imports neither of them."""

__version__ = "0.1.0"
