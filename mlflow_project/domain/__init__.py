"""The words of Switchyard as frozen dataclasses: releases, verdicts, records, receipts, cases, answers.

Nothing here does I/O or imports more than the standard library, so Spark executors and servers can both use it.
"""
