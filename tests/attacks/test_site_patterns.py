"""Texts that only a site's own pattern recognises. The attacker sends them everywhere a caller can, through a provider
that repeats them, and hopes to find them in what the server writes; he gets only the pattern's name."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest

from mlflow_project.domain.release import ProviderChoice
from serving.app import create_app
from tests.observability.evidence import rows_of
from tests.provider.behaviour import Behaviour
from tests.provider.fixtures import Simulated, provider_server
from tests.serving.in_process import client_of, set_up
from tests.serving.snapshots import Snapshots, released

__all__ = ["provider_server", "released"]

PATTERN = {"ticket": r"\bTCK-[A-Z]{2}\d{6}\b"}
TICKET = "TCK-AB123456"


@pytest.fixture
def untouched_logs() -> Iterator[None]:
    """Put the handlers of this process's logs back afterwards."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before, level


def test_a_site_s_pattern_holds_in_logs_events_feedback_complaints_and_request_ids(
    released: Snapshots,
    provider_server: Simulated,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    untouched_logs: None,
) -> None:
    released.seal("chat", "Be brief.", provider=ProviderChoice("openai", "simulated-1", {"tries": 1}))
    released.point("chat", 1)
    recorded = {"SWITCHYARD_LOG_TEXTS": "true", "SWITCHYARD_EVENTS_PER_SECOND": "1000"}
    set_up(monkeypatch, released, provider_server, SWITCHYARD_MASK_PATTERNS=json.dumps(PATTERN), **recorded)
    shown = asyncio.run(_send_everywhere(provider_server))
    written = capfd.readouterr().err + _events(released)
    assert written.count("[ticket]") >= 6, "question, answer and feedback were recorded"
    assert TICKET not in written
    assert TICKET not in shown["complaint"], "a provider's complaint may quote what somebody else has asked"
    assert TICKET not in shown["request_id"]


async def _send_everywhere(provider: Simulated) -> dict[str, str]:
    """Send the text as question, answer, complaint, feedback and request id. Returns what callers see."""
    text = f"I am told: {TICKET}."
    question: dict[str, Any] = {"variables": {"question": text}}
    async with client_of(create_app()) as http:
        provider.will(Behaviour(text))
        answer = await http.post("/prompts/chat/invocations", json=question, headers={"X-Request-Id": TICKET})
        assert answer.status_code == 200
        request_id = answer.headers["X-Request-Id"]
        provider.will(Behaviour(status=400, message=f"{text} is no question"))
        refused = await http.post("/prompts/chat/invocations", json={"variables": {"question": "Why?"}})
        judgement = {"request_id": request_id, "score": 1, "comment": text, "corrected_answer": text}
        assert (await http.post("/feedback", json=judgement)).status_code == 200
    return {"request_id": request_id, "complaint": refused.json()["detail"]}


def _events(released: Snapshots) -> str:
    """Everything in the host's queue of events, once the threads have written it."""
    time.sleep(0.3)
    return "\n".join(rows_of(released.path / "events.sqlite"))
