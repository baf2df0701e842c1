"""Weights in 8 bits: what is rounded, by how much, and what stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from skysense.export.int8 import rounded, write_int8

onnx = pytest.importorskip("onnx")
FLOATS = st.floats(-1e3, 1e3, width=32, allow_subnormal=False)


@given(arrays(np.float32, array_shapes(min_dims=2, max_dims=4, max_side=4), elements=FLOATS), st.booleans())
def test_no_number_moves_by_more_than_half_a_step(weight: np.ndarray, last: bool) -> None:
    axis = weight.ndim - 1 if last else 0
    whole, scale_O = rounded(weight, axis)
    assert whole.dtype == np.int8 and whole.min() >= -127 and scale_O.shape == (weight.shape[axis],)
    rows, back = (np.moveaxis(one.astype(np.float64), axis, 0) for one in (weight, whole))
    steps = scale_O.astype(np.float64).reshape(-1, *[1] * (weight.ndim - 1))
    assert (np.abs(back * steps - rows) <= 0.5001 * steps).all()


def test_weights_of_products_are_rounded_and_nothing_else(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    rng = np.random.default_rng(0)
    shapes = {"right": (40, 50), "turned": (60, 50), "shift": (60,), "small": (4, 4), "kernel": (8, 60, 3, 3)}
    weights = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    weights["added"] = rng.normal(size=(40, 50)).astype(np.float32)
    node, helper = onnx.helper.make_node, onnx.helper
    nodes = [
        node("Add", ["added", "x"], ["a"]),  # a matrix that is added is no weight
        node("Transpose", ["right"], ["right_t"], perm=[1, 0]),
        node("MatMul", ["a", "right_t"], ["b"]),
        node("Transpose", ["b"], ["b_t"], perm=[1, 0]),
        node("MatMul", ["b_t", "right"], ["c"]),
        node("Transpose", ["turned"], ["turned_t"], perm=[1, 0]),
        node("MatMul", ["c", "turned_t"], ["d"]),
        node("Add", ["d", "shift"], ["e"]),
        node("Unsqueeze", ["e", "axes"], ["f"]),
        node("Reshape", ["f", "image"], ["g"]),
        node("Conv", ["g", "kernel"], ["y"], pads=[1, 1, 1, 1]),
    ]
    held = [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()]
    held.append(onnx.numpy_helper.from_array(np.array([0]), "axes"))
    held.append(onnx.numpy_helper.from_array(np.array([1, 60, 5, 8]), "image"))
    x, y = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("x", (40, 50)), ("y", (1, 8, 5, 8)))
    )
    graph = helper.make_graph(nodes, "g", [x], [y], held)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), tmp_path / "one.onnx")
    write_int8(tmp_path / "one.onnx", tmp_path / "two.onnx")
    kept = {one.name: one.data_type for one in onnx.load(tmp_path / "two.onnx").graph.initializer}
    integers = {name for name, kind in kept.items() if kind == onnx.TensorProto.INT8}
    # `right` is read from both sides, so that no axis is that of its outputs: it stays
    assert integers == {"turned_int8", "kernel_int8"} and {"added", "right", "shift"} <= set(kept)
    sample = rng.normal(size=(40, 50)).astype(np.float32)
    one, two = (
        onnxruntime.InferenceSession(tmp_path / name).run(None, {"x": sample})[0] for name in ("one.onnx", "two.onnx")
    )
    assert 0 < np.linalg.norm(one - two) / np.linalg.norm(one) < 0.02
