"""How long a server may take to stop: the setting, the pages and the files that stop it agree."""

import re
from pathlib import Path

from mlflow_project.adapters.providers.patience import Patience
from mlflow_project.settings import GuardSettings, ServerSettings

ROOT = Path(__file__).parents[2]
SECONDS = ServerSettings.model_fields["api_stop_seconds"].default
STOPPERS = re.compile(r"(?:stopwaitsecs|stop_grace_period|terminationGracePeriodSeconds)\s*[=:]\s*\"?(\d+)")


def test_each_page_says_the_seconds_of_the_setting() -> None:
    said = {
        "docs/guide/server.md": r"On SIGTERM a worker finishes .*?for up to (\d+) seconds",
        "docs/operations/serving.md": r"`SWITCHYARD_API_STOP_SECONDS` \((\d+)\)",
        ".env.example": r"SWITCHYARD_API_STOP_SECONDS=(\d+)",
        "stack/supervisord.conf": r"the server's own (\d+) s",
    }
    for file, pattern in said.items():
        found = re.findall(pattern, (ROOT / file).read_text(encoding="utf-8"))
        assert found, f"{file} no longer says it"
        assert set(map(int, found)) == {SECONDS}, file


def test_a_stop_leaves_time_for_the_longest_request_of_the_defaults() -> None:
    limits = GuardSettings.model_fields
    longest = limits["body_seconds"].default + limits["queue_seconds"].default + Patience().total_seconds
    assert longest < SECONDS


def test_what_stops_the_server_waits_longer_than_the_server() -> None:
    server = (ROOT / "stack" / "supervisord.conf").read_text().split("[program:server]", 1)[1].split("[program:", 1)[0]
    assert int(STOPPERS.findall(server)[0]) > SECONDS
    for file in (ROOT / "compose.yaml", *sorted((ROOT / "deploy").rglob("*.y*ml"))):
        for wait in STOPPERS.findall(file.read_text(encoding="utf-8")):
            assert int(wait) > SECONDS, file
