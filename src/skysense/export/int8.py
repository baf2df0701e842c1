"""Weights in 8 bits: a smaller file whose graph still reckons in float32.

Every matrix of a product and every kernel of a convolution is stored as integers of -127 .. 127 with one scale per
output channel, and a DequantizeLinear in front of the product gives the numbers back. What is small, norms, biases,
positions and prototypes, stays as it is.

Letters: O outputs of a layer, I inputs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.export.writing import LARGEST_ALONE, save

_GREATEST = 127
_SMALL = 1024  # numbers, below which a tensor is not worth it
_PRODUCTS = ("MatMul", "Gemm", "Conv", "Einsum")
_PASSED = ("Transpose", "Reshape", "Identity", "Split")
"""Through which a weight may go on its way to a product; its outputs stay on its first axis in the file."""


def write_int8(path: Path, out: Path, *, largest: int = LARGEST_ALONE) -> None:
    """Write an ONNX file with weights in 8 bits.

    Args:
        path: a file of `write_graph`.
        out: the file to write.
        largest: see `write_graph`.
    """
    import onnx_ir

    model = onnx_ir.load(path)
    for value in list(model.graph.initializers.values()):
        axis = _output_axis(value)
        if axis is not None:
            _replace(model.graph, value, axis)
    save(model, out, largest=largest)


def rounded(weight: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """A weight as integers and one scale per output channel: the greatest number of a channel becomes 127.

    Args:
        weight: of any shape.
        axis: of the outputs.

    Returns:
        int8 of the same shape, and float32 ``(O,)``.
    """
    others = tuple(number for number in range(weight.ndim) if number != axis)
    scale_O = np.abs(weight).max(axis=others) / _GREATEST
    scale_O = np.where(scale_O > 0, scale_O, 1).astype(np.float32)
    shape = [-1 if number == axis else 1 for number in range(weight.ndim)]
    whole = np.rint(weight / scale_O.reshape(shape)).clip(-_GREATEST, _GREATEST)
    return whole.astype(np.int8), scale_O


def _output_axis(value: Any) -> int | None:
    """Which axis of a stored tensor is that of the outputs of its product; None if it is to stay as it is."""
    import onnx_ir

    tensor = value.const_value
    if tensor.dtype != onnx_ir.DataType.FLOAT or len(tensor.shape) < 2 or tensor.size < _SMALL:
        return None
    axes = {_axis_for(node, number, len(tensor.shape)) for node, number in value.uses()}
    (axis,) = axes if len(axes) == 1 else (None,)
    return axis


def _axis_for(node: Any, number: int, ndim: int) -> int | None:
    """The axis of the outputs for one use of a tensor, None if that is no product with a weight."""
    if node.op_type == "MatMul":
        return ndim - 1 if number == 1 else None
    if node.op_type == "Gemm":
        turned = node.attributes.get("transB")
        return None if number != 1 else 0 if turned is not None and turned.as_int() else 1
    if node.op_type == "Conv":
        return 0 if number == 1 else None
    if node.op_type in _PASSED and number == 0:
        return 0 if _reaches_product(node) else None
    return None


def _reaches_product(node: Any) -> bool:
    if node.op_type in _PASSED:
        return all(_reaches_product(user) for output in node.outputs for user, _ in output.uses())
    return node.op_type in _PRODUCTS


def _replace(graph: Any, value: Any, axis: int) -> None:
    """Put integers, scales and what multiplies them in the place of a stored tensor."""
    import onnx_ir

    whole, scale_O = rounded(value.const_value.numpy(), axis)
    held = [
        onnx_ir.Value(
            name=f"{value.name}_{what}",
            shape=onnx_ir.Shape(numbers.shape),
            type=onnx_ir.TensorType(kind),
            const_value=onnx_ir.tensor(numbers, name=f"{value.name}_{what}"),
        )
        for what, numbers, kind in (
            ("int8", whole, onnx_ir.DataType.INT8),
            ("scale", scale_O, onnx_ir.DataType.FLOAT),
        )
    ]
    node = onnx_ir.Node(
        "", "DequantizeLinear", held, attributes=[onnx_ir.AttrInt64("axis", axis)], name=f"{value.name}_as_float"
    )
    result = node.outputs[0]
    result.name, result.shape, result.type = f"{value.name}_float", value.shape, value.type
    value.replace_all_uses_with(result)
    graph.insert_before(graph[0], node)
    del graph.initializers[value.name]
    for one in held:
        graph.register_initializer(one)
