"""Read a `policy.yaml`: `load_policy(path) -> Policy`."""

from __future__ import annotations

from pathlib import Path

import yaml

from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.rules.gate.policy import Policy, policy_from
from mlflow_project.rules.plain_yaml import EachKeyOnce, read_yaml


def load_policy(path: Path) -> Policy:
    """The policy in a file.

    Raises:
        NotFound: there is no such file.
        InvalidData: it is no YAML, or no policy; the message has a line for each mistake.
    """
    try:
        _, data = read_yaml(path.read_text(encoding="utf-8"), EachKeyOnce)
    except FileNotFoundError as error:
        raise NotFound(f"There is no policy {path}: write one, or name another with --policy.") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidData(f"The policy {path} cannot be read: {error}.") from error
    return policy_from(data, str(path))
