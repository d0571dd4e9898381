"""Tiny random weights in the real file layout: `python examples/kokoro/weights.py FOLDER [BYTES]`.

A graph of six nodes with Kokoro's inputs and output, and one table of styles. What it says is noise; the
library, its phonemes and its files are the real ones.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from coldstart_sdk.rehearsal.padding import pad

REPO = "fastrtc/kokoro-onnx"
_TOKENS, _STYLE, _SAMPLES = 256, 256, 600
"""Sizes of the vocabulary and of a style, and samples of sound for each token."""


def write(folder: Path, *, total_bytes: int = 0) -> None:
    """The repository below the folder, padded to so many bytes."""
    repo = folder / REPO
    repo.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(7)
    onnx.save(_model(random), repo / "kokoro-v1.0.onnx")
    styles = random.standard_normal((510, 1, _STYLE)).astype(np.float32)
    with (repo / "voices-v1.0.bin").open("wb") as file:
        np.savez(file, af_heart=styles)
    pad(folder, repo, name="voices-padding", total_bytes=total_bytes)


def _model(random: np.random.Generator) -> onnx.ModelProto:
    def weights(name: str, *shape: int) -> TensorProto:
        return numpy_helper.from_array(random.standard_normal(shape).astype(np.float32) * 0.05, name)

    tokens = helper.make_tensor_value_info("tokens", TensorProto.INT64, [1, None])
    style = helper.make_tensor_value_info("style", TensorProto.FLOAT, [1, _STYLE])
    speed = helper.make_tensor_value_info("speed", TensorProto.FLOAT, [1])
    audio = helper.make_tensor_value_info("audio", TensorProto.FLOAT, [None])
    nodes = [
        helper.make_node("Gather", ["embedding", "tokens"], ["sounds"]),
        helper.make_node("MatMul", ["style", "colour"], ["tinted"]),
        helper.make_node("Add", ["sounds", "tinted"], ["mixed"]),
        helper.make_node("Tanh", ["mixed"], ["bent"]),
        helper.make_node("Mul", ["bent", "speed"], ["paced"]),
        helper.make_node("Reshape", ["paced", "flat"], ["audio"]),
    ]
    held = [
        weights("embedding", _TOKENS, _SAMPLES),
        weights("colour", _STYLE, _SAMPLES),
        numpy_helper.from_array(np.array([-1], np.int64), "flat"),
    ]
    graph = helper.make_graph(nodes, "kokoro", [tokens, style, speed], [audio], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


if __name__ == "__main__":
    if len(sys.argv) < 2:  # noqa: PLR2004 - a folder, at least
        sys.exit("which folder? python examples/kokoro/weights.py FOLDER [BYTES]")
    write(Path(sys.argv[1]), total_bytes=int(sys.argv[2]) if len(sys.argv) > 2 else 0)  # noqa: PLR2004 - the second argument
