"""Why an answer ended, by OpenAI's names, whatever the provider called it."""

import pytest

from mlflow_project.domain.answer import Answer
from serving.routes.openai.chat_answer import finish_reason


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (None, "stop"),
        ("STOP", "stop"),
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("tool_calls", "tool_calls"),
        ("MAX_TOKENS", "length"),
        ("model_context_window_exceeded", "length"),
        ("SAFETY", "content_filter"),
        ("refusal", "content_filter"),
    ],
)
def test_a_reason_of_any_provider_is_told_as_one_of_openais(said: str | None, told: str) -> None:
    assert finish_reason(Answer("text", finish_reason=said)) == told
