"""Texts to vectors with an ONNX sentence model, on the CPU and offline.

In: a folder as sentence-transformers exports it: `model.onnx` (or `onnx/model.onnx`) and `tokenizer.json`, and, where
the model has them, `1_Pooling/config.json`, `sentence_bert_config.json` and `config_sentence_transformers.json`. Out:
the `Embedder` that describes it, and vectors. An ONNX file is a graph of onnxruntime's operators and brings no code.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlflow_project.adapters.retrieval.specification import MOST_TOKENS, Embedder, Pooling, Purpose
from mlflow_project.errors import ConfigError, InvalidData
from mlflow_project.rules.canonical import digest

GRAPH, TOKENIZER = "model.onnx", "tokenizer.json"
AT_ONCE = 16
"""Texts that the graph reads in one run. Larger batches wait for their longest text."""
_SENTENCE = "sentence_embedding"
"""The output of graphs that pool by themselves."""
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def describe(folder: Path, dimensions: int | None = None, max_tokens: int | None = None) -> Embedder:
    """The embedder that a folder holds, with the digests of its files.

    Raises:
        InvalidData: the folder lacks a file, or one of them cannot be read.
    """
    files = digests(folder)
    prompts = _settings(folder, "config_sentence_transformers.json").get("prompts") or {}
    longest = _settings(folder, "sentence_bert_config.json").get("max_seq_length")
    return Embedder(
        kind="onnx",
        model=folder.resolve().name,
        dimensions=dimensions,
        max_tokens=max_tokens or (longest if isinstance(longest, int) and longest > 0 else MOST_TOKENS),
        pooling=_pooling(folder),
        question_prefix=prompts.get("query") or None,
        document_prefix=prompts.get("document") or prompts.get("passage") or None,
        files=files,
    )


def digests(folder: Path) -> dict[str, str]:
    """The digests of the two files of a model.

    Raises:
        InvalidData: one is missing.
    """
    files = {GRAPH: _graph_of(folder), TOKENIZER: folder / TOKENIZER}
    if missing := [name for name, path in files.items() if not path.is_file()]:
        raise InvalidData(
            f"{folder} holds no ONNX sentence model: {' and '.join(missing)} is missing. Export the model with "
            "sentence-transformers or optimum, and name the folder that holds both files."
        )
    return {name: digest(path.read_bytes()) for name, path in files.items()}


def copy_files(folder: Path, into: Path) -> None:
    """Copy the two files of a model into a folder of an index, under the names that `SentenceModel` opens."""
    into.mkdir(parents=True)
    shutil.copyfile(_graph_of(folder), into / GRAPH)
    shutil.copyfile(folder / TOKENIZER, into / TOKENIZER)


class Graph:
    """An ONNX graph that reads tokens, with its tokenizer. Many threads may use it at once."""

    def __init__(self, folder: Path, name: str, files: Mapping[str, str] | None, max_tokens: int, threads: int) -> None:
        """Load both files; nothing of the folder is read later. `name` is what messages call the model.

        Raises:
            ConfigError: onnxruntime is not installed here.
            InvalidData: the files have other digests, or the graph asks for something else than tokens.
        """
        graph, tokenizer = _graph_of(folder).read_bytes(), (folder / TOKENIZER).read_bytes()
        if {GRAPH: digest(graph), TOKENIZER: digest(tokenizer)} != dict(files or {}):
            raise InvalidData(f"The model in {folder} is not the one that the index names: its files differ.")
        self._name = name
        self._tokenizer = _tokenizer(tokenizer, max_tokens)
        self._session = _session(graph, threads)
        self._inputs = [each.name for each in self._session.get_inputs()]
        if unknown := [name for name in self._inputs if name not in _INPUTS]:
            raise InvalidData(f"The graph of {name} asks for {', '.join(unknown)}, and not only for {_INPUTS}.")
        outputs = [each.name for each in self._session.get_outputs()]
        self._output = _SENTENCE if _SENTENCE in outputs else outputs[0]

    def run(self, texts: Sequence[str | tuple[str, str]]) -> tuple[NDArray[np.float32], NDArray[np.int64]] | None:
        """Run the graph on texts, or on pairs of texts. Returns its output and which tokens are no padding, or None if
        there are no tokens.

        Raises:
            InvalidData: graph and tokenizer do not fit each other.
        """
        encoded = self._tokenizer.encode_batch(list(texts))
        columns = {
            "input_ids": np.array([each.ids for each in encoded], dtype=np.int64),
            "attention_mask": np.array([each.attention_mask for each in encoded], dtype=np.int64),
            "token_type_ids": np.array([each.type_ids for each in encoded], dtype=np.int64),
        }
        if not columns["input_ids"].size:
            return None
        try:
            found = self._session.run([self._output], {name: columns[name] for name in self._inputs})[0]
        except Exception as error:  # onnxruntime's errors have no class of their own that it documents
            raise InvalidData(f"The graph of {self._name} and its tokenizer do not fit: {error}") from error
        return np.asarray(found, dtype=np.float32), columns["attention_mask"]


class SentenceModel:
    """A loaded sentence model. Many threads may use it at once."""

    def __init__(self, folder: Path, embedder: Embedder, threads: int = 1) -> None:
        """Load the files that `describe` or `copy_files` found, of which nothing is read later.

        Args:
            threads: how many threads one run uses. A server uses 1, so that a search takes one core.

        Raises:
            ConfigError: onnxruntime is not installed here.
            InvalidData: the files are not those of the embedder, or the graph is no sentence model.
        """
        self._embedder = embedder
        self._graph = Graph(folder, embedder.name, embedder.files, embedder.max_tokens or MOST_TOKENS, threads)
        self.dimensions = int(self._run(["a"]).shape[1])

    def embed(self, texts: Sequence[str], purpose: Purpose) -> NDArray[np.float32]:
        """One row of length 1 for each text; a text without any token gives a row of zeros."""
        prefix = self._embedder.question_prefix if purpose == "question" else self._embedder.document_prefix
        rows = [self._run([(prefix or "") + each for each in batch]) for batch in _batches(texts)]
        return np.concatenate(rows) if rows else np.zeros((0, self.dimensions), dtype=np.float32)

    def _run(self, texts: Sequence[str]) -> NDArray[np.float32]:
        run = self._graph.run(texts)
        if run is None:
            return np.zeros((len(texts), self.dimensions), dtype=np.float32)
        return scaled(self._pooled(*run))

    def _pooled(self, found: NDArray[np.float32], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """One vector a text, cut to the embedder's dimensions."""
        if found.ndim == 2:
            pooled = found
        elif found.ndim == 3 and self._embedder.pooling == "first":
            pooled = found[:, 0]
        elif found.ndim == 3:
            weights = mask[:, :, None].astype(np.float32)
            pooled = (found * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1)
        else:
            raise InvalidData(f"The graph of {self._embedder.name} gives {found.ndim} dimensions; 2 or 3 are expected.")
        if not np.isfinite(pooled).all():
            raise InvalidData(f"The graph of {self._embedder.name} returns numbers that are not finite.")
        wanted = self._embedder.dimensions
        if wanted is not None and wanted > pooled.shape[1]:
            raise InvalidData(f"{self._embedder.name} has {pooled.shape[1]} dimensions, and {wanted} are asked for.")
        return pooled[:, :wanted]


def scaled(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each row scaled to length 1; a row of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    rows: NDArray[np.float32] = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return rows


def _batches(texts: Sequence[str]) -> list[Sequence[str]]:
    return [texts[start : start + AT_ONCE] for start in range(0, len(texts), AT_ONCE)]


def _graph_of(folder: Path) -> Path:
    inside = folder / "onnx" / GRAPH
    return inside if inside.is_file() and not (folder / GRAPH).is_file() else folder / GRAPH


def _settings(folder: Path, name: str) -> Mapping[str, Any]:
    """A file of settings; empty if the model has none.

    Raises:
        InvalidData: it is no JSON object.
    """
    path = folder / name
    if not path.is_file():
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidData(f"{path} cannot be read: {error}.") from error
    if not isinstance(data, dict):
        raise InvalidData(f"{path} must hold a JSON object.")
    return data


def _pooling(folder: Path) -> Pooling:
    """Raises:
    InvalidData: the model pools in a way that is unknown here.
    """
    said = _settings(folder, "1_Pooling/config.json")
    modes = [name for name, value in said.items() if name.startswith("pooling_mode_") and value is True]
    if not modes or modes == ["pooling_mode_mean_tokens"]:
        return "mean"
    if modes == ["pooling_mode_cls_token"]:
        return "first"
    raise InvalidData(f"{folder}/1_Pooling/config.json asks for {', '.join(modes)}: only mean and cls are known here.")


def _tokenizer(data: bytes, max_tokens: int) -> Any:
    """Raises:
    InvalidData: it is no file of the tokenizers library.
    """
    from tokenizers import Tokenizer

    try:
        made = Tokenizer.from_buffer(data)
    except Exception as error:  # the library raises nothing more precise
        raise InvalidData(f"{TOKENIZER} cannot be read: {error}.") from error
    made.enable_truncation(max_tokens)
    made.enable_padding()
    return made


def _session(graph: bytes, threads: int) -> Any:
    """Raises:
    ConfigError: onnxruntime is not installed here.
    InvalidData: it cannot load the graph.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(
            "An ONNX sentence model needs onnxruntime, which is not installed here: install the `models` extra."
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no class of their own that it documents
        raise InvalidData(f"onnxruntime cannot load {GRAPH}: {error}") from error
