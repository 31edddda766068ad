"""Lets a model predict: the one call that the routes of both protocols make.

In: a request's body, and how it is read. Out: what the model answers, and the release that answered. Bodies that take
long to read are read in the model's threads, and so are long answers written.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from fastapi import Response

from mlflow_project.domain.answer import Answer, Usage
from mlflow_project.models.requests import Asked, to_json
from mlflow_project.models.sample import RowSample
from mlflow_project.telemetry.tracing import span
from serving.call import Call
from serving.live.shadows import LoadedShadow
from serving.live.shelf import LiveRelease
from serving.live.warm_model import WarmModel
from serving.routes.ask import using
from serving.server import Server

_SMALL_BYTES, _SMALL_ROWS = 32_768, 1_000
"""Larger bodies and longer answers would keep the event loop for more than a few milliseconds."""

Read = Callable[[WarmModel], Asked]
"""Reads the request's body for a model."""
Write = Callable[[LiveRelease, Asked, Any], Any]
"""Makes JSON-ready data of the predictions."""


async def predict(server: Server, call: Call, name: str, alias: str, read: Read, write: Write) -> Response:
    """The response with the predictions.

    Raises:
        Refused: the caller may not choose the alias. NotFound: no such model is live.
        InvalidData: the body does not fit the protocol or the signature, or the model refuses the rows.
    """
    async with using(server, call, name, alias, "model") as asking:
        model, began = asking.live.model, time.perf_counter()
        with span("read"):
            asked = read(model) if call.body_bytes <= _SMALL_BYTES else await model.in_thread(read, model)
        with span("predict"):
            answer = await model.predict(asked)
        if asked.rows.count <= _SMALL_ROWS:
            data = to_json(write(asking.live, asked, answer))
        else:
            data = await model.in_thread(lambda: to_json(write(asking.live, asked, answer)))
        asking.sample = RowSample.of(asked.rows, answer) if asked.rows.count else None
        asking.answer = Answer(None, usage=Usage(total_tokens=0), latency_ms=1000 * (time.perf_counter() - began))
        asking.predictions, asking.again = answer, partial(_predict_again, read)
        return Response(data, media_type="application/json")


async def _predict_again(read: Read, shadow: LoadedShadow) -> Answer:
    """Let a shadow predict the same body, read by its own signature. All of it runs in the shadow's threads."""
    model, began = shadow.live.model, time.perf_counter()
    asked = await model.in_thread(read, model)
    found = await model.predict(asked)
    return Answer(None, object=found, latency_ms=1000 * (time.perf_counter() - began))
