"""The console over a running stack: its pages say what the commands say; what is sent is done or refused."""

from __future__ import annotations

import json
import re

import httpx
import pytest

from mlflow_project.promotion.views import live
from tests.console.conftest import HOSTILE, Console


def token(page: httpx.Response) -> str:
    found = re.search(r'name="token" value="([^"]+)"', page.text)
    assert found is not None
    return found[1]


def ended(client: httpx.Client, page: httpx.Response) -> str:
    """Follow an operation to its end; everything that its events said."""
    with client.stream("GET", f"{page.url.path}/events") as events:
        return "".join(events.iter_text())


def test_every_page_answers_and_shows_hostile_texts_as_texts(console: Console) -> None:
    name = console.name
    with httpx.Client(base_url=console.url, timeout=20) as client:
        live_page = client.get("/", params={"search": name}).text
        assert f"{name}/2" in live_page, re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", live_page))
        assert "1 of 1" in live_page
        for path in (
            f"/names/{name}",
            f"/names/{name}/3",
            f"/names/{name}/diff?before=2&after=3",
            f"/record?name={name}",
        ):
            page = client.get(path)
            assert page.status_code == 200, path
            assert HOSTILE not in page.text
            assert "<script>" not in page.text
            assert "\u202e" not in page.text
        assert "sentences" in client.get(f"/names/{name}/diff?before=1&after=2").text
        assert client.get("/names").status_code == 200
        assert client.get("/names/nobody-knows-it").status_code == 404


def test_the_record_pages_exports_and_shows_a_time(console: Console) -> None:
    with httpx.Client(base_url=console.url, timeout=20) as client:
        records = json.loads(client.get("/record/export", params={"name": console.name}).text)
        assert [record["type"] for record in records] == [
            record.type for record in console.releases.parts.ledger.records() if record.name == console.name
        ]
        flips = [record for record in records if record["type"] == "flip"]
        then = client.get("/record", params={"at": flips[0]["time"]})
        assert then.status_code == 200
        assert console.name in then.text


def test_a_rollback_by_a_form_arrives_receipt_by_receipt_and_names_its_person(console: Console) -> None:
    with console.signed_in("operator") as client:
        page = client.get("/", params={"search": console.name})
        form = dict(re.findall(r'name="(expected|to)" value="(\d+)"', page.text))
        send = {**form, "token": token(page), "reason": "it answers badly"}
        said = ended(client, client.post(f"/names/{console.name}/rollback", data=send))
        assert re.search(r"Receipt: \S+ after \d+ ms", said)
        assert '"state": "done"' in said
        row = next(row for row in live(console.releases.parts) if row.name == console.name)
        assert (row.version, row.how, row.why) == (1, "rollback", "it answers badly")
        assert row.who.startswith("key:person-")
        again = ended(client, client.post(f"/names/{console.name}/rollback", data=send))
        assert "Something else is live" in again
        assert '"state": "refused"' in again
    with console.signed_in("operator") as client:
        page = client.get(f"/names/{console.name}/2")
        despite = {"token": token(page), "to": "Production", "despite_rollback": "it was not its fault"}
        said = ended(client, client.post(f"/names/{console.name}/2/promote", data=despite))
        assert "was sealed against" in said or '"state": "done"' in said


def test_an_approval_and_a_verification_are_operations_too(console: Console) -> None:
    with console.signed_in("approver") as client:
        page = client.get(f"/names/{console.name}/3")
        said = ended(
            client, client.post(f"/names/{console.name}/3/approve", data={"token": token(page), "reason": "read it"})
        )
        assert "approved" in said
        assert '"state": "done"' in said
        said = ended(client, client.post("/record/verify", data={"token": token(page)}))
        assert "records are whole" in said


@pytest.mark.parametrize("path", ["rollback", "2/promote"])
def test_a_viewer_is_refused_by_the_page_and_by_the_command_alike(console: Console, path: str) -> None:
    with console.signed_in("viewer") as client:
        page = client.get("/record")
        refused = client.post(f"/names/{console.name}/{path}", data={"token": token(page), "to": "Production"})
        assert (refused.status_code, "needs the role `operator`" in refused.text) == (403, True)
