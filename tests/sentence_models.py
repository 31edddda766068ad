"""A tiny ONNX sentence model: it looks each token's vector up in a table. Real in form, and made in a moment."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

WORDS = ("[PAD]", "[UNK]", "alias", "version", "rollback", "ledger", "query", "passage", ":")
DIMENSIONS = 6


def write_model(folder: Path, *, pooling: str = "mean_tokens", seed: int = 7) -> Path:
    """Write the model's folder as sentence-transformers exports it."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    onnx.save(_graph(seed), str(folder / "model.onnx"))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({f"pooling_mode_{pooling}": True}))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 4}))
    return folder


def table(seed: int = 7) -> np.ndarray:
    """The vector of each token."""
    return np.random.default_rng(seed).normal(0, 1, (len(WORDS), DIMENSIONS)).astype(np.float32)


def write_reranker(folder: Path) -> Path:
    """Write a cross-encoder's folder. Its score of a pair is how often tokens of the text have an even number."""
    write_model(folder)
    evens = np.array([[float(place % 2 == 0 and place > 0)] for place in range(len(WORDS))], dtype=np.float32)
    nodes = [
        helper.make_node("Gather", ["evens", "input_ids"], ["each"]),
        helper.make_node("ReduceSum", ["each", "axis"], ["logits"], keepdims=0),
    ]
    axis = numpy_helper.from_array(np.array([1], dtype=np.int64), "axis")
    onnx.save(
        _model(nodes, "logits", [None, 1], [numpy_helper.from_array(evens, "evens"), axis]), folder / "model.onnx"
    )
    return folder


def _graph(seed: int) -> onnx.ModelProto:
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["last_hidden_state"])]
    shape = [None, None, DIMENSIONS]
    return _model(nodes, "last_hidden_state", shape, [numpy_helper.from_array(table(seed), "table")])


def _model(
    nodes: list[onnx.NodeProto], output: str, shape: list[int | None], weights: list[onnx.TensorProto]
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, [None, None])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
