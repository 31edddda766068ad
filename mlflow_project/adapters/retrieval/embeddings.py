"""Texts to vectors with WordLlama's 256 dimensions: small, on the CPU, from the package's own files, never the network.

The model (about 40 MB of memory) is loaded by the first call that needs it, once a process.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlflow_project.errors import ConfigError

MODEL = "wordllama-0.4/256"
DIMENSIONS = 256


def embed(texts: Sequence[str]) -> NDArray[np.float32]:
    """One row of 256 numbers a text, of length 1; a text without any token gives a row of zeros.

    Raises:
        ConfigError: WordLlama is not installed here.
    """
    if not texts:
        return np.zeros((0, DIMENSIONS), dtype=np.float32)
    with np.errstate(invalid="ignore"):
        vectors = np.nan_to_num(_model().embed(list(texts), norm=False).astype(np.float32, copy=False))
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    normalised: NDArray[np.float32] = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return normalised


@cache
def _model() -> Any:
    package = find_spec("wordllama")
    if package is None or package.origin is None:
        raise ConfigError("Vectors need WordLlama, which is not installed here: install the `serving` extra.")
    handlers = list(logging.getLogger().handlers)
    from wordllama import WordLlama

    for handler in logging.getLogger().handlers[:]:
        if handler not in handlers:  # the package configures the root logger when it is imported
            logging.getLogger().removeHandler(handler)
    return WordLlama.load(cache_dir=Path(package.origin).parent, disable_download=True)
