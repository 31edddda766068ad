"""Starts the stand-in for OpenMetadata's server, with OpenMetadata's own models of a version.

The package `openmetadata-ingestion` pins much of what we have at other versions. So it gets a folder of its own,
without what it depends on: its models need little more than pydantic.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
VERSIONS = {"2.0.7": "2.0.7.0", "1.9.14": "1.9.14.0"}
_BESIDE = ("email-validator==2.3.0", "dnspython==2.8.0", "chardet==5.2.0", "antlr4-python3-runtime==4.9.2")


def models_of(version: str) -> Path:
    """The folder with the models, installed at the first call: 80 MB, a few seconds."""
    folder = ROOT / ".openmetadata" / version
    if not (folder / "done").exists():
        uv = [Path(sys.executable).with_name("uv"), "pip", "install", "--quiet", "--no-deps", "--target", folder]
        wanted = [f"openmetadata-ingestion=={VERSIONS[version]}", *_BESIDE]
        subprocess.run([*uv, "--python", sys.executable, *wanted], check=True)
        (folder / "done").touch()
    return folder


@contextmanager
def openmetadata(version: str) -> Iterator[str]:
    """A server of a version that knows nothing yet. Gives the address of its API."""
    script = Path(__file__).with_name("openmetadata_server.py")
    process = subprocess.Popen([sys.executable, script, version, models_of(version)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        yield f"http://127.0.0.1:{port}/api"
    finally:
        process.terminate()
        process.wait()
