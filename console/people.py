"""Finds the person who sends a request to the console, and the roles of this person.

In: a session's cookie. Out: a `Visit`. The key file is looked at for changes once a second, so a revoked key ends its
sessions within a second, and a key's new roles count as soon.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

from console.sessions import FailedSignIns, Sessions
from mlflow_project.api_keys import ApiKey, KeyFile, by_id, owner_of
from mlflow_project.errors import InvalidData, Refused
from mlflow_project.identity import Identity
from mlflow_project.snapshot.folder import stamp
from mlflow_project.web.problems import Unauthorized

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Visit:
    """The sender of a request. `identity` is None for somebody who is not signed in. `token` must come with every form.
    `reads` says whether this person may see the pages."""

    identity: Identity | None = None
    token: str = ""
    reads: bool = False

    def may(self, role: str) -> bool:
        """Whether the sender is signed in and has the role."""
        return self.identity is not None and self.identity.may(role)


class People:
    """The API keys of people, and their sessions. On loopback everybody may read until a caller of the server has a
    key; `open_to_read` is whether the console listens on loopback alone."""

    def __init__(self, file: KeyFile, sessions: Sessions, *, open_to_read: bool) -> None:
        self._file, self._sessions, self._on_loopback = file, sessions, open_to_read
        self._failed = FailedSignIns()
        self._keys: Mapping[str, ApiKey] = {}
        self._open = open_to_read
        self._seen: tuple[int, int] | None = None
        self._looked_at = float("-inf")

    def visit(self, cookie: str | None) -> Visit:
        """The sender of a request with this cookie."""
        self._look()
        session = self._sessions.find(cookie) if cookie else None
        key = self._keys.get(session.key_id) if session is not None else None
        if session is None or key is None or not key.is_a_persons:
            return Visit(reads=self._open)
        return Visit(Identity.of_key(key), session.token, reads=True)

    def sign_in(self, token: str, address: str) -> str:
        """Begin a session for the owner of an API key. Returns the cookie's value.

        Raises:
            Unauthorized: no valid key. Refused: the key has no role of people. Exhausted: too many failures.
        """
        self._failed.check(address)
        self._look(at_once=True)
        key = owner_of(token.strip(), self._keys)
        if key is None:
            self._failed.count(address)
            raise Unauthorized("This is not a valid API key. `switchyard keys list` shows which keys there are.")
        if not key.is_a_persons:
            raise Refused(
                f"The key {key.id} of {key.owner} is for callers of the server. To sign in, a key needs a role of "
                "people: `switchyard keys create OWNER --role viewer`, or operator, approver, reviewer or admin."
            )
        return self._sessions.begin(key.id)

    def sign_out(self, cookie: str) -> None:
        """End a session."""
        self._sessions.end(cookie)

    def _look(self, at_once: bool = False) -> None:
        now = time.monotonic()
        if now - self._looked_at < _LOOK_SECONDS and not at_once:
            return
        self._looked_at = now
        seen = stamp(self._file.path)
        if seen == self._seen and self._keys:
            return
        try:
            keys = self._file.all()
        except InvalidData as error:
            self._open = False
            logger.error("the API keys cannot be read; the keys read before stay valid", extra={"error": str(error)})
            return
        self._seen, self._keys = seen, by_id(keys)
        self._open = self._on_loopback and not any(key.is_a_callers for key in keys)
