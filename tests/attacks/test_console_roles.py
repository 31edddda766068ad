"""People with keys of too small a role, at the command line. The attacker holds a valid key and the stack's addresses
and credentials; a role that does not allow a change keeps it out of the ledger."""

from __future__ import annotations

import pytest

from mlflow_project.api_keys import KeyFile
from tests.releases.conftest import Yard


@pytest.mark.parametrize(("roles", "refused"), [(("viewer",), True), (("approver",), True), (("operator",), False)])
def test_a_key_without_the_role_of_an_operator_promotes_nothing(
    yard: Yard, tmp_path: object, roles: tuple[str, ...], refused: bool
) -> None:
    """Gets: exit code 4, the role that is missing, and a ledger without a new record."""
    version = yard.sealed()
    file = f"{tmp_path}/keys.json"
    token, _ = KeyFile(type(yard.parts.keys)(api_keys_file=file).api_keys_file).create("mallory", roles)
    before = len(yard.parts.ledger.records())
    key = {"SWITCHYARD_API_KEY": token, "SWITCHYARD_API_KEYS_FILE": file}
    code, said = yard.run("promote", f"{yard.name}/{version}", "--to", "Production", **key)
    if refused:
        assert (code, "needs the role `operator`" in said) == (4, True)
        assert len(yard.parts.ledger.records()) == before
    else:
        assert code == 0, said
