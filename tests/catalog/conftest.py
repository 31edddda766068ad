"""A store, a registry, a ledger and a prompt of a test's own, and a catalogue that receives events over HTTP."""

from collections.abc import Iterator

import pytest

from tests.catalog.receiver import Receiver, receiver
from tests.releases.conftest import store, yard

__all__ = ["catalogue", "store", "yard"]


@pytest.fixture
def catalogue(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A receiver that OpenLineage's own configuration names, with one second of patience and no second tries."""
    with receiver() as found:
        monkeypatch.setenv("OPENLINEAGE__TRANSPORT__TYPE", "http")
        monkeypatch.setenv("OPENLINEAGE__TRANSPORT__URL", found.url)
        monkeypatch.setenv("OPENLINEAGE__TRANSPORT__TIMEOUT", "1")
        monkeypatch.setenv("OPENLINEAGE__TRANSPORT__RETRY", '{"total": 0}')
        yield found
