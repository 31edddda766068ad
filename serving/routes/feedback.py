"""`POST /feedback`: takes a caller's judgement of an answer. The same judgement sent again changes nothing."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from serving.call import TheCall
from serving.server import TheServer

router = APIRouter(tags=["Feedback"])


def _is_text(text: str) -> str:
    """Refuse half a surrogate pair, which JSON can write and UTF-8 cannot."""
    if not text.isprintable() and any(0xD800 <= ord(character) <= 0xDFFF for character in text):
        raise ValueError("holds half of a surrogate pair, which is no character: send whole ones")
    return text


Text = Annotated[str, AfterValidator(_is_text)]


class Feedback(BaseModel):
    """At least one of the four fields. A higher `score` is better. A site uses one scale, for example 0 to 1."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"request_id": "5e1f…", "score": 1, "label": "correct", "comment": "Thanks!"}]},
    )
    request_id: str = Field(pattern=r"^[A-Za-z0-9._:-]{1,128}$")
    score: float | None = Field(default=None, ge=-1000, le=1000, allow_inf_nan=False, strict=True)
    label: Text | None = Field(default=None, min_length=1, max_length=64)
    comment: Text | None = Field(default=None, min_length=1, max_length=10_000)
    corrected_answer: Text | None = Field(default=None, min_length=1, max_length=20_000)

    @model_validator(mode="after")
    def _says_something(self) -> Feedback:
        if all(value is None for value in (self.score, self.label, self.comment, self.corrected_answer)):
            raise ValueError("give a score, a label, a comment or a corrected_answer")
        return self


class Taken(BaseModel):
    """`status` is `unchanged` if the same judgement was recorded before."""

    request_id: str
    release: str
    status: Literal["recorded", "unchanged"]


@router.post("/feedback", summary="Judge an answer")
async def feedback(body: Feedback, call: TheCall, server: TheServer) -> Taken:
    """Needs the API key that asked, or an admin's. The judgement is on disk when the response comes."""
    judgement = body.model_dump(exclude={"request_id"})
    asked, new = await server.feedback.take(body.request_id, judgement, call.caller)
    return Taken(request_id=asked.request_id, release=asked.release, status="recorded" if new else "unchanged")
