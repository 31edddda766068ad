"""Who is asking: by the key that was used, and by no word of the environment."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from mlflow_project.api_keys import KeyFile
from mlflow_project.errors import Refused
from mlflow_project.identity import by_key, current_identity
from mlflow_project.settings import ClientSettings, KeySettings, load


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KeyFile:
    path = tmp_path / "api-keys.json"
    monkeypatch.setenv("SWITCHYARD_API_KEYS_FILE", str(path))
    return KeyFile(path)


def test_the_owner_of_the_key_is_who_asks_until_it_is_revoked(keys: KeyFile) -> None:
    token, key = keys.create("anna", ("call",))
    client = ClientSettings(api_key=SecretStr(token))
    assert (current_identity(client, load(KeySettings)), by_key(current_identity(client, load(KeySettings)))) == (
        "key:anna",
        True,
    )
    keys.revoke(key.id)
    with pytest.raises(Refused, match="not a valid key"):
        current_identity(client, load(KeySettings))


def test_without_a_key_it_is_the_user_of_the_process_whatever_the_environment_says(
    keys: KeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = current_identity(ClientSettings(), load(KeySettings))
    for name in ("USER", "LOGNAME", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "key:somebody-else")
    assert current_identity(ClientSettings(), load(KeySettings)) == before
    assert before.startswith("user:")
    assert not by_key(before)


def test_the_person_who_approved_in_airflow_is_named_and_proves_nothing(keys: KeyFile) -> None:
    token, _ = keys.create("airflow's own key", ("call",))
    named = current_identity(ClientSettings(api_key=SecretStr(token), airflow_person="key:anna"), load(KeySettings))
    assert named == "airflow:key:anna"
    assert not by_key(named), "where a second person's word counts, only a key does"
