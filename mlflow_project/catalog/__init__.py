"""Tells catalogues what was recorded.

`ledger_runs` turns the ledger into records of runs, `events` turns records into OpenLineage's events, `publish` sends
them. A catalogue is only told: nothing here reads from it what is true.
"""
