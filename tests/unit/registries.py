"""A registry with one name in it, for code that only looks up aliases."""

from collections.abc import Mapping

from mlflow_project.adapters.registry import Registry, RegistryEntry


class OneName(Registry):
    """Answers `entry` without any server."""

    def __init__(self, name: str, aliases: Mapping[str, int]) -> None:
        self._found = RegistryEntry("prompt", name, aliases)

    def entry(self, name: str) -> RegistryEntry | None:
        return self._found if name == self._found.name else None
