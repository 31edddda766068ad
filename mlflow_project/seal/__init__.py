"""Seals: the gate signs a release that passed, and anyone can verify the signature.

`keys` holds signing and trusted keys, `statement` the signed content, `seal` signs and verifies. Verifying needs
neither registry nor object store, so servers can do it.
"""
