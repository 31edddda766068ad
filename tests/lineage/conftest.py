"""A store, a registry, and a ledger and a prompt of a test's own."""

from tests.releases.conftest import store, yard

__all__ = ["store", "yard"]
