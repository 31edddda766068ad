"""The console without any server behind it: sessions, forms, names, what pages remember, and how texts are shown."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from console import app
from console.cache import Cache
from console.edge import COOKIE
from console.pages import STATIC, ago, shown_text
from console.people import People
from console.sessions import MOST_SESSIONS, FailedSignIns, Sessions
from console.views.curves import drawing
from console.views.knowledge import rejected, search
from console.views.versions import by_word
from mlflow_project.api_keys import KeyFile
from mlflow_project.errors import Exhausted, InvalidData, NotFound, Refused, Unavailable
from mlflow_project.parts import Parts
from mlflow_project.rollouts.planning import plan_for
from mlflow_project.settings import ConsoleSettings
from mlflow_project.web.problems import Unauthorized
from stack.ports import free_port

PAGES = (
    "/",
    "/names",
    "/names/qa",
    "/names/qa/1",
    "/names/qa/diff?before=1&after=2",
    "/record",
    "/sign-in",
    "/traffic",
    "/knowledge",
    "/drift",
    "/playground",
)


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KeyFile:
    """Settings whose MLflow and object store nobody runs, and a key file of the test's own."""
    for name in ("S3_ENDPOINT", "MLFLOW_URI"):
        monkeypatch.setenv(f"SWITCHYARD_{name}", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("SWITCHYARD_S3_ACCESS_KEY", "nobody")
    monkeypatch.setenv("SWITCHYARD_S3_SECRET_KEY", "nobody")
    monkeypatch.setenv("SWITCHYARD_STATE", str(tmp_path))
    monkeypatch.setattr("console.people._LOOK_SECONDS", 0.0)
    return KeyFile(tmp_path / "keys" / "api-keys.json")


@pytest.fixture
def http(keys: KeyFile) -> Iterator[TestClient]:
    with TestClient(app.create_app(), base_url="http://localhost", follow_redirects=False) as client:
        yield client


def signed_in(http: TestClient, keys: KeyFile, *roles: str) -> str:
    """Sign in with a new key. Returns the token of the session's forms."""
    key, _ = keys.create("anna", roles or ("operator",))
    assert http.post("/sign-in", data={"key": key, "to": "/record"}).status_code == 303
    found = re.search(r'name="token" value="([^"]+)"', http.get("/sign-in").text)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("path", PAGES)
def test_a_page_without_its_servers_says_what_it_cannot_see(http: TestClient, path: str) -> None:
    page = http.get(path)
    assert page.status_code == 200
    assert page.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    assert page.headers["cache-control"] == "no-store"
    assert not re.search(r"<(?:script|style)(?![^>]* src=)[^>]*>|\sstyle=|\son[a-z]+=", page.text)
    if path != "/sign-in":
        assert "cannot be seen" in page.text


def test_every_own_file_may_be_kept_by_browsers_and_no_other_file_is_served(http: TestClient) -> None:
    for address in set(re.findall(r'(?:src|href)="(/static/[^"]+)"', http.get("/").text)):
        file = http.get(address)
        assert (file.status_code, "immutable" in file.headers["cache-control"]) == (200, True)
    assert http.get("/static/README.md").status_code == 404
    assert http.get("/static/..%2fapp.py").status_code == 404


def test_vendored_files_are_those_of_their_packages() -> None:
    sums = dict(reversed(line.split()) for line in (STATIC / "SHA256SUMS").read_text().splitlines())
    assert "htmx.min.js" in sums
    for name, wanted in sums.items():
        assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == wanted, name


def test_without_keys_everybody_on_this_machine_may_read_and_nobody_may_change(http: TestClient) -> None:
    assert http.get("/record").status_code == 200
    refused = http.post("/names/qa/rollback", data={"reason": "x"})
    assert (refused.status_code, "sign in with an API key" in refused.text) == (401, True)


def test_as_soon_as_a_caller_has_a_key_reading_needs_a_session(http: TestClient, keys: KeyFile) -> None:
    keys.create("a caller", ("call",))
    assert http.get("/record").status_code == 401
    signed_in(http, keys, "viewer")
    assert http.get("/record").status_code == 200


def test_a_key_of_a_caller_does_not_sign_in(http: TestClient, keys: KeyFile) -> None:
    token, _ = keys.create("a caller", ("call",))
    refused = http.post("/sign-in", data={"key": token})
    assert (refused.status_code, COOKIE in refused.cookies) == (403, False)


def test_the_cookie_is_for_this_site_alone_and_no_script_reads_it(http: TestClient, keys: KeyFile) -> None:
    key, _ = keys.create("anna", ("viewer",))
    answer = http.post("/sign-in", data={"key": key, "to": "//evil.example/"})
    assert answer.headers["location"] == "/"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


def test_a_change_needs_the_token_of_its_session(http: TestClient, keys: KeyFile) -> None:
    token = signed_in(http, keys)
    for forged in ({"reason": "x"}, {"token": ""}, {"token": "x" * 43}):
        assert http.post("/names/qa/rollback", data=forged).status_code == 403
    assert http.post("/names/qa/rollback", data={"token": token}).status_code == 303


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
)
def test_a_form_of_another_site_does_nothing(http: TestClient, keys: KeyFile, headers: dict[str, str]) -> None:
    token = signed_in(http, keys)
    assert http.post("/names/qa/rollback", data={"token": token}, headers=headers).status_code == 403


def test_a_name_that_is_not_the_console_s_is_refused(http: TestClient) -> None:
    assert http.get("/", headers={"Host": "evil.example"}).status_code == 403
    assert app.allowed_hosts(ConsoleSettings(console_hosts="a.example, b.example"), True) >= {"a.example", "b.example"}


@pytest.mark.parametrize(
    ("roles", "path"),
    [
        (("viewer",), "/names/qa/rollback"),
        (("reviewer",), "/names/qa/rollout/abort"),
        (("approver",), "/names/qa/1/promote"),
        (("operator",), "/names/qa/1/approve"),
    ],
)
def test_a_role_that_does_not_allow_a_change_is_named(
    http: TestClient, keys: KeyFile, roles: tuple[str, ...], path: str
) -> None:
    token = signed_in(http, keys, *roles)
    refused = http.post(path, data={"token": token, "to": "Production"})
    assert (refused.status_code, "needs the role" in refused.text) == (403, True)


def test_signing_out_and_revoking_the_key_end_the_session(http: TestClient, keys: KeyFile) -> None:
    keys.create("a caller", ("call",))
    token = signed_in(http, keys, "viewer")
    cookie = http.cookies[COOKIE]
    http.post("/sign-out", data={"token": token})
    assert http.get("/record", headers={"Cookie": f"{COOKIE}={cookie}"}).status_code == 401
    signed_in(http, keys, "viewer")
    assert http.get("/record").status_code == 200
    for key in keys.all():
        keys.revoke(key.id)
    assert http.get("/record").status_code == 401


def test_a_large_form_and_another_type_of_body_are_refused(http: TestClient, keys: KeyFile) -> None:
    token = signed_in(http, keys)
    assert http.post("/names/qa/rollback", data={"token": token, "reason": "x" * 300_000}).status_code == 413
    assert http.post("/names/qa/rollback", json={"token": token}).status_code == 422
    assert http.post("/names/qa/rollback", data={str(n): "" for n in range(80)}).status_code == 422
    assert http.request("DELETE", "/names/qa").status_code == 422


def test_a_change_that_cannot_be_made_says_why_on_its_page(http: TestClient, keys: KeyFile) -> None:
    token = signed_in(http, keys)
    place = http.post("/names/qa/rollback", data={"token": token, "reason": "it answers badly"}).headers["location"]
    with http.stream("GET", f"{place}/events") as events:
        said = "".join(events.iter_text())
    assert 'event: end\ndata: {"state": "failed"}' in said
    page = http.get(place).text
    assert "key:anna" in page
    assert "does not answer" in page


def test_wrong_input_is_a_sentence_and_no_stack_trace(http: TestClient) -> None:
    for path, status in (
        ("/names/qa/0", 422),
        ("/names/qa/diff?before=1", 422),
        ("/record?before=-1", 422),
        ("/record?at=yesterday", 422),
        ("/?page=x", 422),
        ("/operations/none", 404),
        ("/nowhere", 404),
    ):
        page = http.get(path)
        assert page.status_code == status, path
        assert "Traceback" not in page.text


def test_sessions_end_by_time_and_by_number() -> None:
    now = [0.0]
    sessions = Sessions(60.0, lambda: now[0])
    first = sessions.begin("a")
    now[0] = 59.0
    assert sessions.find(first) is not None
    now[0] = 60.0
    assert sessions.find(first) is None
    kept = [sessions.begin("a") for _ in range(MOST_SESSIONS + 1)]
    assert sessions.find(kept[0]) is None
    assert sessions.find(kept[-1]) is not None


def test_failed_sign_ins_are_limited_by_address() -> None:
    now = [0.0]
    failed = FailedSignIns(lambda: now[0])
    for _ in range(10):
        failed.check("127.0.0.1")
        failed.count("127.0.0.1")
    with pytest.raises(Exhausted, match="Try again in 60 s"):
        failed.check("127.0.0.1")
    failed.check("127.0.0.2")
    now[0] = 60.0
    failed.check("127.0.0.1")


def test_a_wrong_key_and_a_key_without_a_role_of_people_begin_no_session(keys: KeyFile) -> None:
    people = People(keys, Sessions(60.0), open_to_read=True)
    token, _ = keys.create("a caller", ("call", "choose-alias"))
    with pytest.raises(Unauthorized):
        people.sign_in(token + "x", "127.0.0.1")
    with pytest.raises(Refused, match="needs a role of people"):
        people.sign_in(token, "127.0.0.1")


def test_a_part_that_does_not_answer_leaves_the_last_known(keys: KeyFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("console.cache._RETRY_SECONDS", 0.0)
    cache = Cache(Parts.connect())
    assert cache.read("x", lambda parts: 1, age=0.0).value == 1

    def gone(parts: Parts) -> int:
        raise Unavailable("MinIO does not answer.")

    first, second = cache.read("x", gone, age=0.0), cache.read("x", gone, age=0.0)
    assert (first.value, first.reason, first.unseen_since) == (1, "MinIO does not answer.", second.unseen_since)
    assert cache.read("x", lambda parts: 2, age=0.0).unseen_since is None
    with pytest.raises(NotFound):
        cache.read("y", _missing)


def _missing(parts: Parts) -> int:
    raise NotFound("There is none.")


def test_texts_are_shown_without_characters_that_turn_others_around() -> None:
    assert shown_text("a\u202eb\x00c") == "a\ufffdb\ufffdc"
    assert shown_text("x" * 20_010).endswith("… (10 more characters)")


def test_a_time_is_relative_and_says_the_exact_one() -> None:
    assert ago("2020-01-01T00:00:00.000Z").startswith('<time datetime="2020-01-01T00:00:00.000Z" title="2020')
    assert ago(None) == "—"
    assert ago('"><script>') == "&#34;&gt;&lt;script&gt;"


def test_texts_differ_by_word() -> None:
    assert by_word("Answer in one sentence.", "Answer in two sentences.") == [
        ("same", "Answer in "),
        ("removed", "one"),
        ("added", "two"),
        ("same", " "),
        ("removed", "sentence"),
        ("added", "sentences"),
        ("same", "."),
    ]


def test_curves_are_paths_with_gaps_and_differ_by_dashes() -> None:
    drawn = drawing([0.0, 1.0, 2.0, 3.0], {"qa/1": [0.0, None, 2.0, 4.0], "qa/2": [None, None, None, None]})
    assert drawn.top == 4.0
    assert [curve.path for curve in drawn.curves] == ["M0.0 160.0M426.7 80.0L640.0 0.0", ""]
    assert [curve.last for curve in drawn.curves] == [4.0, None]
    assert len({curve.dash for curve in drawn.curves}) == 2


@pytest.mark.parametrize("table", ["s3a://a`b", "s3a://a' OR 1=1", "--help", "/etc/passwd", "s3a://a b"])
def test_an_address_that_would_change_a_query_or_a_command_is_refused(table: str) -> None:
    with pytest.raises(InvalidData, match="named by its address"):
        rejected(table)
    with pytest.raises(InvalidData, match="named by its address"):
        search(table, "a question", "words")


def test_a_rollout_that_cannot_be_opened_says_why(http: TestClient, keys: KeyFile) -> None:
    send = {"token": signed_in(http, keys), "steps": "half"}
    assert http.post("/names/qa/2/rollout", data=send).status_code == 422
    place = http.post("/names/qa/2/rollout", data={**send, "steps": "10%,100%", "every": "5m"}).headers["location"]
    with http.stream("GET", f"{place}/events") as events:
        assert "does not answer" in "".join(events.iter_text())


def test_the_plan_of_a_rollout_is_the_policy_s_unless_somebody_says_otherwise() -> None:
    assert plan_for("no-such-name").steps == (0.01, 0.05, 0.25, 1.0)
    said = plan_for("qa", steps="50%,100%", every="10m", unit="user")
    assert (said.steps, said.seconds, said.unit) == ((0.5, 1.0), 600.0, "user")
    with pytest.raises(InvalidData, match="no unit of a rollout"):
        plan_for("qa", unit="planet")
