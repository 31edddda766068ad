"""What `list` and `show` say of versions, and a new prompt from `new` to its seal."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.releases.conftest import Yard


def switchyard(yard: Yard, *words: str, cwd: Path | None = None, code: int = 0) -> Any:
    """A command's JSON document, or what it said on stderr."""
    own = {"SWITCHYARD_EVALUATION_EXTRAS": "false", **yard.env}
    command = [str(Path(sys.executable).with_name("switchyard")), *words, "--json"]
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **own}, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout) if done.stdout else done.stderr


def test_list_tells_sealed_refused_unjudged_and_edited_versions_apart(yard: Yard) -> None:
    edited, refused, sealed, fresh = yard.sealed(), yard.register("{{question}}?"), yard.sealed("{{question}}!"), 4
    yard.seal(refused, outcome="rejected")
    assert yard.register("{{question}} please") == fresh
    yard.parts.registry.set_version_tag(yard.name, edited, "mlflow.prompt.text", '[{"role": "user", "content": "Hi"}]')
    yard.parts.registry.set_alias(yard.name, "Candidate", fresh)
    rows = switchyard(yard, "list", yard.name)
    found = {row["version"]: (row["sealed"], row["verdict"], row["aliases"]) for row in rows}
    assert found == {
        edited: ("changed", "accepted", []),
        refused: ("no", "rejected", []),
        sealed: ("yes", "accepted", []),
        fresh: ("no", None, ["Candidate"]),
    }
    assert {row["name"] for row in switchyard(yard, "list")} >= {yard.name}
    assert switchyard(yard, "show", yard.name) == rows


def test_an_alias_that_was_moved_by_hand_is_told_from_what_is_live(yard: Yard) -> None:
    first, second = yard.sealed(), yard.register("{{question}}?")
    assert yard.run("promote", f"{yard.name}/{first}", "--to", "production")[0] == 0
    yard.parts.registry.set_alias(yard.name, "Production", second)
    rows = {row["version"]: row for row in switchyard(yard, "list", yard.name)}
    assert (rows[first]["aliases"], rows[first]["live"]) == ([], ["Production"])
    assert (rows[second]["aliases"], rows[second]["live"]) == (["Production"], [])
    assert "live, but the alias was moved by hand" in yard.run("list", yard.name)[1]


def test_show_gives_content_seal_and_refusal_of_one_version(yard: Yard) -> None:
    version = yard.sealed("Say: {{question}}")
    yard.parts.registry.set_alias(yard.name, "Staging", version)
    for words in (f"{yard.name}/{version}", f"{yard.name}@staging", f"{yard.name}@Staging"):
        found = switchyard(yard, "show", words)
        assert found["version"] == version
        assert found["manifest"]["template"] == [{"role": "user", "content": "Say: {{question}}"}]
        assert (found["seal"]["by"], found["refusal"]) == ("user:gate", None)
    code, said = yard.run("show", f"{yard.name}/{version}")
    assert code == 0
    assert "Say: {{question}}" in said
    assert "on 3 cases against no other version" in said
    refused = yard.register("No: {{question}}")
    yard.seal(refused, outcome="rejected")
    assert "is below its floor" in switchyard(yard, "show", f"{yard.name}/{refused}")["refusal"]["why"]


def test_what_does_not_exist_is_said_with_exit_code_2(yard: Yard) -> None:
    yard.register()
    assert "No prompt or model is named 'nope'" in switchyard(yard, "list", "nope", code=2)
    assert f"There is no {yard.name}/9" in switchyard(yard, "show", f"{yard.name}/9", code=2)
    assert "has no alias 'Green'. Its aliases: none." in switchyard(yard, "show", f"{yard.name}@Green", code=2)


def test_history_is_one_line_a_record_and_why_gives_the_rest(yard: Yard) -> None:
    first, second = yard.sealed(), yard.register("{{question}}?")
    yard.seal(second, outcome="rejected")
    short, whole = yard.run("history", yard.name)[1], yard.run("history", yard.name, "--why")[1]
    assert [line.split()[2] for line in short.splitlines()] == ["seal", "refusal"]
    assert "is below its floor" in whole
    assert "is below its floor" not in short
    assert f"{yard.name}/{second}" not in yard.run("history", f"{yard.name}/{first}")[1]


def test_a_new_prompt_is_sealed_once_its_cases_are_written(yard: Yard, tmp_path: Path) -> None:
    folder = tmp_path / "prompts" / yard.name
    assert switchyard(yard, "new", yard.name, cwd=tmp_path)["folder"] == f"prompts/{yard.name}"
    assert "exists already" in switchyard(yard, "new", yard.name, cwd=tmp_path, code=2)
    switchyard(yard, "register", str(folder), cwd=tmp_path)
    candidate = f"{yard.name}@Candidate"
    switchyard(yard, "evaluate", candidate, cwd=tmp_path)
    early = switchyard(yard, "gate", candidate, cwd=tmp_path, code=4)
    assert early["outcome"] == "inconclusive"
    context = "The office opens at nine. It closes at five."
    case = {"question": "When does the office open?", "context": context, "expected": ["nine"]}
    lines = (json.dumps({"id": f"own-{number}", **case}) for number in range(30))
    (folder / "cases.jsonl").write_text("\n".join(lines))
    switchyard(yard, "evaluate", candidate, cwd=tmp_path)
    assert switchyard(yard, "gate", candidate, cwd=tmp_path)["accepted"]
