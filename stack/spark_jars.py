"""The jars that Spark needs beside its own, by Ivy, which ships with pyspark: so no Maven. Standard library only.

stack/jars/jars.txt names each jar and its SHA-256; nothing else is resolved. Out: a folder in the cache, put there
whole by rename when every jar is verified. Ivy's cache makes an interrupted download go on.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from mlflow_project.errors import InvalidData, Unavailable
from stack.layout import ENVIRONMENT, JAR_LIST, cache_folder, jar_folder
from stack.progress import Progress
from stack.tools import Tools


def fetch_jars(progress: Progress, tools: Tools) -> str:
    """Fetch and verify Spark's jars unless they are there."""
    return fetch(read_pins(JAR_LIST.read_text()), jar_folder(), progress, tools)


def fetch(pinned: Mapping[str, str], folder: Path, progress: Progress, tools: Tools) -> str:
    """Fetch and verify pinned jars into a folder, unless it is there."""
    if folder.exists():
        return f"already there ({folder})"
    fresh = folder.with_name(f"{folder.name}.{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        _retrieve(pinned, fresh, progress, tools)
        verify(fresh, pinned)
        fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    size = sum(jar.stat().st_size for jar in folder.iterdir())
    return f"fetched and verified, {len(pinned)} jars, {size / 1e6:.0f} MB"


def read_pins(text: str) -> dict[str, str]:
    """Coordinate (`group:artifact:version`) -> SHA-256, from the list's lines."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split(" ", 1) for line in lines)


def verify(folder: Path, pinned: Mapping[str, str]) -> None:
    """Hold each jar against its digest.

    Raises:
        InvalidData: one is missing or differs; the message names it.
    """
    for coordinate, sha256 in pinned.items():
        jar = folder / jar_name(coordinate)
        found = hashlib.sha256(jar.read_bytes()).hexdigest() if jar.exists() else "missing"
        if found != sha256:
            raise InvalidData(
                f"The jar {coordinate} is not the pinned one (SHA-256 {found}, not {sha256}): remove {_ivy_cache()} "
                "and run again; if it stays so, the repository that it came from was changed."
            )


def jar_name(coordinate: str) -> str:
    """`artifact-version.jar`."""
    _, artifact, version = coordinate.split(":")
    return f"{artifact}-{version}.jar"


def _retrieve(pinned: Mapping[str, str], folder: Path, progress: Progress, tools: Tools) -> None:
    wanted = folder.with_suffix(".ivy.xml")
    wanted.write_text(_ivy_file(pinned))
    fetched = 0
    progress.now("fetches jars", 0, len(pinned))

    def count(line: str) -> None:
        nonlocal fetched
        fetched += "[SUCCESSFUL" in line
        progress.now("fetches jars", fetched, len(pinned))

    pattern = f"{folder}/[artifact]-[revision].[ext]"
    ivy: list[str | os.PathLike[str]] = [
        _java(),
        f"-Divy.default.ivy.user.dir={_ivy_cache()}",
        "-cp",
        _ivy_jar(),
        "org.apache.ivy.Main",
    ]
    try:
        tools.run("jars", [*ivy, "-ivy", wanted, "-cache", _ivy_cache() / "cache", "-retrieve", pattern], on_line=count)
    finally:
        wanted.unlink()


def _ivy_file(pinned: Mapping[str, str]) -> str:
    rows = [coordinate.split(":") for coordinate in pinned]
    dependencies = "".join(
        f'<dependency org="{group}" name="{artifact}" rev="{version}" conf="default->master" transitive="false"/>\n'
        for group, artifact, version in rows
    )
    return (
        '<ivy-module version="2.0"><info organisation="switchyard" module="jars"/>'
        '<configurations><conf name="default"/></configurations>\n'
        f"<dependencies>\n{dependencies}</dependencies></ivy-module>\n"
    )


def _ivy_cache() -> Path:
    return cache_folder() / "ivy"


def _ivy_jar() -> Path:
    found = sorted((ENVIRONMENT / "lib").glob("python*/site-packages/pyspark/jars/ivy-*.jar"))
    if not found:
        raise Unavailable("pyspark brought no ivy jar: remove .venv and run again.")
    return found[0]


def _java() -> Path:
    home = os.environ.get("JAVA_HOME")
    return Path(home) / "bin" / "java" if home else Path("java")
