"""Releases on real servers: seal, ledger, flip, rollback, what a crash leaves, what a hand changes."""
