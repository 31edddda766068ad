"""The page "Your own corpus in an hour", command by command, on PDFs that nobody has tuned for."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PUBLIC_DATA
from tests.spark.made_documents import pdf

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guide" / "your-own-corpus.md").read_text(encoding="utf-8")
FENCES = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
BLOCKS = [text for language, text in FENCES if not language]
"""The commands. Blocks of another language show a file's content."""
LINES_A_PAGE = 50
pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


def paged(text: str) -> list[str]:
    """A text as pages of lines of ten words."""
    words = text.split()
    lines = [" ".join(words[at : at + 10]) for at in range(0, len(words), 10)]
    return ["\n".join(lines[at : at + LINES_A_PAGE]) for at in range(0, len(lines), LINES_A_PAGE)]


def write_pdf(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pdf(paged(text.encode("cp1252", "replace").decode("cp1252").replace("\\", "/"))))


def guide(folder: Path) -> list[dict[str, Any]]:
    """The pages of this project's guide, and 60 of its cases, 20 of them unanswerable."""
    for page in sorted((ROOT / "docs" / "guide").glob("*.md")):
        write_pdf(folder / "pages" / f"{page.stem}.pdf", page.read_text(encoding="utf-8"))
    rows = [json.loads(line) for line in (ROOT / "prompts" / "qa" / "cases.jsonl").read_text().splitlines()]
    answerable = [{**row, "document_id": f"pages/{row['document_id']}.pdf"} for row in rows if row["expected"]]
    unanswerable = [row for row in rows if not row["expected"]]
    return [{key: row[key] for key in row if key != "quote"} for row in answerable[:40] + unanswerable[:20]]


def xquad(folder: Path) -> list[dict[str, Any]]:
    """The articles of XQuAD, and 80 of its questions, 20 of them about articles that are not in the folder."""
    names, articles = ("documents.jsonl", "questions.jsonl"), PUBLIC_DATA / "xquad"
    documents, questions = ([json.loads(line) for line in (articles / name).read_text().splitlines()] for name in names)
    left_out = documents[-1]["id"]
    for document in documents[:-1]:
        write_pdf(folder / f"{document['id']}.pdf", document["text"])
    known = [row for row in questions if row["document_id"] != left_out][::15][:60]
    unknown = [row for row in questions if row["document_id"] == left_out][:20]
    answerable = [
        {"expected": row["answers"], "document_id": f"{row['document_id']}.pdf", **_asked(row)} for row in known
    ]
    return answerable + [{"expected": [], **_asked(row)} for row in unknown]


def _asked(row: dict[str, Any]) -> dict[str, Any]:
    return {"id": row["id"], "question": row["question"]}


CORPORA = [guide, *([xquad] if (PUBLIC_DATA / "xquad").is_dir() else [])]


@pytest.mark.parametrize("corpus", CORPORA)
def test_the_pages_commands_lead_from_a_folder_of_pdfs_to_a_flip_and_back(
    stack: Any, tmp_path: Path, corpus: Any
) -> None:
    name = f"own-{corpus.__name__}"
    cases = corpus(tmp_path / name)
    write_pdf(tmp_path / name / "locked.pdf", "secret")
    (tmp_path / name / "locked.pdf").write_bytes(pdf(["secret"], password="x"))
    out = {}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, **stack.env, "PATH": path, "COLUMNS": "300"}
    for command in "".join(BLOCKS).replace("handbook", name).splitlines():
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=400,
        )
        sys.stdout.write(f"$ {command}\n{done.stdout}{done.stderr}")
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        out[command.replace(name, "NAME")] = done.stdout
        if command.startswith("switchyard new"):
            lines = "".join(json.dumps(case) + "\n" for case in cases)
            folder = tmp_path / "prompts" / name
            (folder / "cases.jsonl").write_text(lines)
            policy = (folder / "policy.yaml").read_text()
            (folder / "policy.yaml").write_text(policy.replace("floor: 0.5", "floor: 0.4"))  # quoting answers no more
    quarantine = next(text for command, text in out.items() if "_quarantine" in command)
    assert "encrypted" in quarantine
    flips = [line for line in out["switchyard history NAME"].splitlines() if "flip" in line or "rollback" in line]
    assert len(flips) >= 3, out["switchyard history NAME"]
    assert "X-Release: " + f"{name}/1" in next(text for command, text in out.items() if " ask " in command)
