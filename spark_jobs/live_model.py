"""The release of a model that is live under an alias, looked up again before each micro-batch of a stream.

In: the ledger and the object store. Out: a `SealedModel` that was verified and loaded once on the driver.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from mlflow_project.domain.reference import Reference
from mlflow_project.errors import WorkspaceError
from mlflow_project.parts import Parts
from spark_jobs.predicting import check_loads
from spark_jobs.sealed_releases import SealedModel, sealed_model, sealed_release

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Chosen:
    """The release that predicts a micro-batch."""

    version: int
    digest: str


def chosen(sealed: SealedModel) -> Chosen:
    """The release as it is written down."""
    return Chosen(sealed.release.version, sealed.release.digest)


class LiveModel:
    """The release that is live under an alias.

    `now` looks at the ledger. A new release is verified and loaded before it is used. If that fails, the release before
    it goes on, and the reason is logged once.
    """

    def __init__(
        self, parts: Parts, named: Reference, fits: Callable[[SealedModel], None], before: Chosen | None = None
    ) -> None:
        """`fits` raises for a release that cannot predict this stream. `before` is what the stream used last."""
        self._parts, self._named, self._fits, self._before = parts, named, fits, before
        self._held: SealedModel | None = None
        self._said = ""

    def now(self) -> SealedModel:
        """The release for the next micro-batch.

        Raises:
            WorkspaceError: no release can be loaded, neither the live one nor the one before.
        """
        try:
            release, loading = sealed_release(self._parts, self._named)
            if self._held is None or Chosen(release.version, release.digest) != chosen(self._held):
                self._held = self._checked(sealed_model(self._parts, release, loading))
            self._said = ""
        except WorkspaceError as error:
            self._held = self._held or self._one_before(error)
            if str(error) != self._said:
                self._said = str(error)
                logger.error(
                    "the live release cannot be used; the one before it goes on",
                    extra={"reason": str(error), "release": self._held.release.label},
                )
        return self._held

    def named(self, wanted: Chosen) -> SealedModel:
        """The release that was chosen for a micro-batch.

        Raises:
            WorkspaceError: it cannot be loaded any more.
        """
        if self._held is None or wanted != chosen(self._held):
            return self._checked(self._sealed(wanted))
        return self._held

    def _one_before(self, error: WorkspaceError) -> SealedModel:
        if self._before is None:
            raise error
        try:
            return self._checked(self._sealed(self._before))
        except WorkspaceError:
            raise error from None

    def _sealed(self, wanted: Chosen) -> SealedModel:
        named = Reference(self._named.name, wanted.version)
        return sealed_model(self._parts, *sealed_release(self._parts, named, wanted.digest))

    def _checked(self, sealed: SealedModel) -> SealedModel:
        self._fits(sealed)
        check_loads(sealed)
        return sealed
