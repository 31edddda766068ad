"""Who is asking. One function, so that one place changes when API keys carry names."""

from __future__ import annotations

import getpass

from mlflow_project.settings import ClientSettings


def current_identity(settings: ClientSettings) -> str:
    """The caller, as records name him: `user:<name of the operating system's user>`. API keys have no names yet."""
    return f"user:{getpass.getuser()}"
