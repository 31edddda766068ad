"""The seal: what the gate puts on a release that passed, and how anyone checks it.

`keys` keeps signing and trusted keys, `statement` says what a seal states, `seal` signs and verifies. The verifying
side needs neither registry nor object store, so that servers can use it.
"""
