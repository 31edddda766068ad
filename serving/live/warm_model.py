"""A model that is ready to predict: loaded from its sealed files, tried on its own example, with a thread of its own.

Predictions run off the event loop. While one call of the model is under way, small requests gather, and the next call
predicts all of them together: nobody waits for a timer. Whether that changes no bit of an answer is tried when the
model is warmed; if it does, each request is predicted alone.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlflow_project.adapters.model_folder import read_checked
from mlflow_project.domain.model import Loading
from mlflow_project.domain.release import Release
from mlflow_project.errors import InvalidData
from mlflow_project.models.loading import Model, load_model
from mlflow_project.models.requests import Asked, read_json, types_of
from mlflow_project.models.rows import InputReader, Rows, joined
from mlflow_project.models.trial import EXAMPLE
from mlflow_project.settings import ModelSettings

SMALL_ROWS, GATHERED_ROWS = 64, 1024
"""Requests of so few rows are gathered, and at most so many rows at once."""


class _Waiting(NamedTuple):
    rows: Rows
    answer: asyncio.Future[Any]


class WarmModel:
    """Safe to use by many requests at once, from one event loop. Close it when the last one has ended."""

    def __init__(self, release: Release, model: Model, reader: InputReader, *, gathers: bool) -> None:
        self.release = release
        self.reader = reader
        self.description = model.description
        self.types = types_of(reader.names, model.description)
        self.gathers = gathers
        self._model: Model | None = model
        self._threads = ThreadPoolExecutor(2, thread_name_prefix=f"predict-{release.label}")
        self._waiting: list[_Waiting] = []
        self._gatherer: asyncio.Task[None] | None = None

    async def predict(self, asked: Asked) -> Any:
        """One prediction for each row.

        Raises:
            InvalidData: the model refuses the rows.
        """
        if asked.rows.count == 0:
            return []
        model = self._model
        assert model is not None, "a release is closed after its last request"
        loop = asyncio.get_running_loop()
        if asked.parameters or not self.gathers or asked.rows.count > SMALL_ROWS:
            return await loop.run_in_executor(self._threads, model.predict, asked.rows, asked.parameters)
        waiting = _Waiting(asked.rows, loop.create_future())
        self._waiting.append(waiting)
        if self._gatherer is None:
            self._gatherer = loop.create_task(self._gather(model))
        return await waiting.answer

    async def in_thread(self, function: Any, *arguments: Any) -> Any:
        """Run what takes longer than the event loop should wait, such as reading a large body."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    async def aclose(self) -> None:
        """Let go of the model, and give its memory back to the system."""
        self._model = None
        self._threads.shutdown(wait=False)
        await asyncio.to_thread(_give_memory_back)

    async def _gather(self, model: Model) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                taken, count = [], 0
                while self._waiting and count < GATHERED_ROWS:
                    taken.append(self._waiting.pop(0))
                    count += taken[-1].rows.count
                try:
                    answers = await loop.run_in_executor(self._threads, _answers, model, [each.rows for each in taken])
                except Exception as error:
                    answers = [error] * len(taken)
                for waiting, answer in zip(taken, answers, strict=True):
                    if waiting.answer.done():  # its caller has left
                        continue
                    if isinstance(answer, Exception):
                        waiting.answer.set_exception(answer)
                    else:
                        waiting.answer.set_result(answer)
        finally:
            self._gatherer = None


def warm_model(release: Release, folder: Path, loading: Loading, settings: ModelSettings) -> WarmModel:
    """Load a model and let it predict its own example.

    Args:
        folder: its sealed files.
        loading: what its seal allows.

    Raises:
        SealBroken: a file is not the sealed one. Refused: the seal does not allow what loading needs.
        InvalidData: the model is too large or too slow, cannot be read, or refuses its own example.
    """
    began, manifest = time.monotonic(), release.manifest
    model = load_model(folder, manifest, loading, settings.max_model_mb * 1_000_000)
    reader = InputReader(model.description.signature, settings.max_rows)
    gathers = False
    if any(file.path == EXAMPLE for file in manifest.files or ()):
        try:
            example = read_json(read_checked(folder, manifest, EXAMPLE), reader).rows
        except InvalidData as error:
            raise InvalidData(f"The input example of {release.label} does not fit its signature: {error}") from error
        gathers = _is_exact(model, example)
    took = time.monotonic() - began
    if took > settings.model_warm_seconds:
        raise InvalidData(
            f"{release.label} is too slow: loading it and predicting its example took {took:.1f} s, and "
            f"{settings.model_warm_seconds:g} s are allowed (SWITCHYARD_MODEL_WARM_SECONDS)."
        )
    return WarmModel(release, model, reader, gathers=gathers)


def _is_exact(model: Model, example: Rows) -> bool:
    """Whether rows get the same predictions, to the last bit, alone and among others."""
    whole = np.asarray(model.predict(example))
    if example.count == 0:
        return False
    first = example.part(0, 1)
    alone = [np.asarray(model.predict(example.part(row, row + 1)))[0] for row in range(example.count)]
    for count in (3, 8, 64):
        many = np.asarray(model.predict(joined([first] * count + [example])))
        if not all(np.array_equal(value, alone[0]) for value in many[:count]):
            return False
        if not np.array_equal(many[count:], whole):
            return False
    return all(np.array_equal(one, among) for one, among in zip(alone, whole, strict=True))


def _answers(model: Model, parts: list[Rows]) -> list[Any]:
    """The predictions of several requests; where the model refuses them together, of each alone."""
    if len(parts) > 1:
        try:
            found, answers, begin = model.predict(joined(parts)), [], 0
            for part in parts:
                answers.append(found[begin : begin + part.count])
                begin += part.count
            return answers
        except InvalidData:
            pass
    return [_answer(model, part) for part in parts]


def _answer(model: Model, rows: Rows) -> Any:
    try:
        return model.predict(rows)
    except Exception as error:
        return error


def _give_memory_back() -> None:
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
