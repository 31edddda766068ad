"""Flips: promote and rollback, and the repair after a crash or after somebody moved an alias by hand.

`promote` decides whether an alias may move; `flip` moves it, with an intent, receipts and an outcome in the ledger.
`repair` ends flips that a crash left open, `reconcile` puts aliases back, `audit` checks a live release against its
seal, `verify_ledger` checks the ledger, `views` shows what is live and what was.
"""
