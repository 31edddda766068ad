"""Flips: promote, rollback, and what puts things in order after a crash or a hand on an alias.

`flip` moves one alias with intent, receipts and outcome; `promote` and `rollback` decide whether it may; `repair` ends
what a crash left open; `reconcile` puts aliases back; `audit` recomputes a release; `standing` says what is live.
"""
