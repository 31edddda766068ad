"""What is said of wrong settings: the variable and what is wrong with it, in plain words, and never the value."""

from pathlib import Path

import pytest

from mlflow_project.errors import ConfigError
from mlflow_project.settings import (
    LogSettings,
    RegistrySettings,
    ServerSettings,
    StoreSettings,
    check_all,
    load,
)


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings of this machine."""
    monkeypatch.setenv("SWITCHYARD_STATE", str(tmp_path))
    monkeypatch.setenv("SWITCHYARD_ENV_FILE", str(tmp_path / "none"))
    for name in ("ACCESS", "SECRET"):
        monkeypatch.delenv(f"SWITCHYARD_S3_{name}_KEY", raising=False)


@pytest.mark.parametrize(
    ("kind", "name", "value", "said"),
    [
        (RegistrySettings, "SWITCHYARD_REGISTRY_TIMEOUT", "soon", "must be a valid number"),
        (ServerSettings, "SWITCHYARD_API_PORT", "99999999", "must be less than or equal to 65535"),
        (ServerSettings, "SWITCHYARD_RESOLVE", "maybe", "must be 'snapshot' or 'strict'"),
        (LogSettings, "SWITCHYARD_MASK_PATTERNS", "{not json", 'must be JSON, as in {"name": "text"}'),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, kind: type, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        load(kind)
    assert str(caught.value).splitlines()[1:] == [f"  {name}: {said}"]
    assert f"  {name}: {said}" in check_all()


def test_a_setting_that_is_not_there_is_missing() -> None:
    with pytest.raises(ConfigError) as caught:
        load(StoreSettings)
    lines = ["  SWITCHYARD_S3_ACCESS_KEY: is missing", "  SWITCHYARD_S3_SECRET_KEY: is missing"]
    assert str(caught.value).splitlines()[1:] == lines
