"""Who is asking: by the key that was used, and by no word of the environment."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from mlflow_project.api_keys import KeyFile
from mlflow_project.errors import Refused
from mlflow_project.identity import Caller, by_key, current_identity
from mlflow_project.settings import ClientSettings, KeySettings, load


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KeyFile:
    path = tmp_path / "api-keys.json"
    monkeypatch.setenv("SWITCHYARD_API_KEYS_FILE", str(path))
    return KeyFile(path)


def test_the_owner_of_the_key_is_who_asks_until_it_is_revoked(keys: KeyFile) -> None:
    token, key = keys.create("anna", ("call",))
    client = ClientSettings(api_key=SecretStr(token))
    identity = current_identity(client, load(KeySettings))
    assert (identity.name, by_key(identity.name)) == ("key:anna", True)
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
    assert before.name.startswith("user:")
    assert not by_key(before.name)


def test_the_person_who_approved_in_airflow_is_named_and_proves_nothing(keys: KeyFile) -> None:
    token, _ = keys.create("airflow's own key", ("call",))
    named = current_identity(ClientSettings(api_key=SecretStr(token), airflow_person="key:anna"), load(KeySettings))
    assert named.name == "airflow:key:anna"
    assert not by_key(named.name), "where a second person's word counts, only a key does"


def test_a_key_without_a_role_of_people_is_not_restricted(keys: KeyFile) -> None:
    token, _ = keys.create("an older key", ("call",))
    identity = current_identity(ClientSettings(api_key=SecretStr(token)), load(KeySettings))
    assert identity.roles is None
    identity.demand("operator")


@pytest.mark.parametrize(
    ("roles", "approves", "moves"),
    [
        (("viewer",), False, False),
        (("reviewer",), False, False),
        (("operator",), False, True),
        (("approver",), True, False),
        (("operator", "approver"), True, True),
        (("admin",), True, True),
    ],
)
def test_the_ledger_takes_only_records_that_the_roles_of_the_key_allow(
    keys: KeyFile, roles: tuple[str, ...], approves: bool, moves: bool
) -> None:
    token, _ = keys.create("anna", roles)
    caller = Caller(ClientSettings(api_key=SecretStr(token)), load(KeySettings))
    for kind, allowed in (("approval", approves), ("intent", moves), ("hold", moves), ("seal", moves)):
        if allowed:
            caller.check_record(kind)
        else:
            with pytest.raises(Refused, match="needs the role"):
                caller.check_record(kind)
