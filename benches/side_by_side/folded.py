"""Folds every Aff and LayerScale into the linear layers beside it, and writes the network as an ONNX graph that quantisers accept.

The module reads the graph that the example `export` writes, by the names of its tensors. Every product, the patch embedding
included, has its weights on the right, because the quantisers take only such products.
"""

import math
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17


@dataclass
class Block:
    """A block: y += (Wt y) * scale + bias over patches, then y += W2 gelu(W1 y + b1) + b2 over channels."""

    mix: np.ndarray  # [tokens, tokens], output rows
    scale: np.ndarray  # [dim]
    bias: np.ndarray  # [tokens, dim]
    expand: tuple  # [dim, hidden], [hidden]
    contract: tuple  # [hidden, dim], [dim]


@dataclass
class Folded:
    image: int
    patch: int
    stem: tuple  # [3 * patch * patch, dim], [dim]; a patch is (colour, row, column)
    blocks: list
    head: tuple  # [dim, classes], [classes]


def read(path):
    """Reads an exported ONNX file and returns its network, folded."""
    graph = onnx.load(path).graph
    tensors = {tensor.name: numpy_helper.to_array(tensor).astype(np.float64) for tensor in graph.initializer}
    depth = sum(name.endswith(".expand.weight") for name in tensors)
    stem = tensors["stem.weight"]
    alpha, beta = tensors["final.affine.alpha"], tensors["final.affine.beta"]
    head, head_bias = tensors["logits.weight"], tensors["logits.bias"]
    return Folded(
        image=graph.input[0].type.tensor_type.shape.dim[2].dim_value,
        patch=stem.shape[2],
        stem=(_f32(stem.reshape(stem.shape[0], -1).T), _f32(tensors["stem.bias"])),
        blocks=[_block(tensors, index) for index in range(depth)],
        head=(_f32(alpha[:, None] * head), _f32(head_bias + beta @ head)),
    )


def _block(tensors, index):
    mix, mlp = f"block.{index}.mix", f"block.{index}.mlp"
    weight, bias = tensors[f"{mix}.weight"], tensors[f"{mix}.bias"].reshape(-1, 1)
    scale = tensors[f"{mix}.scale"]
    alpha, beta = tensors[f"{mix}.affine.alpha"], tensors[f"{mix}.affine.beta"]
    expand, expand_bias = tensors[f"{mlp}.expand.weight"], tensors[f"{mlp}.expand.bias"]
    alpha2, beta2 = tensors[f"{mlp}.affine.alpha"], tensors[f"{mlp}.affine.beta"]
    scale2 = tensors[f"{mlp}.scale"]
    contract, contract_bias = tensors[f"{mlp}.contract.weight"], tensors[f"{mlp}.contract.bias"]
    return Block(
        mix=_f32(weight),
        scale=_f32(scale * alpha),
        bias=_f32(weight.sum(1, keepdims=True) * (scale * beta) + bias * scale),
        expand=(_f32(alpha2[:, None] * expand), _f32(expand_bias + beta2 @ expand)),
        contract=(_f32(contract * scale2), _f32(contract_bias * scale2)),
    )


def _f32(values):
    return np.ascontiguousarray(values, dtype=np.float32)


def write(folded, path):
    """Writes the folded network as ONNX: input `pixels`, output `logits`, batch 1."""
    builder = _Builder()
    side, patch = folded.image // folded.patch, folded.patch
    tokens, dim = side * side, folded.stem[0].shape[1]
    grid = builder.reshape("grid", "pixels", [1, 3, side, patch, side, patch])
    grid = builder.node("Transpose", "grid.by_patch", [grid], perm=[0, 2, 4, 1, 3, 5])
    y = builder.linear("stem", builder.reshape("patches", grid, [1, tokens, 3 * patch * patch]), folded.stem)
    for index, block in enumerate(folded.blocks):
        name = f"block.{index}"
        turned = builder.node("Transpose", f"{name}.turned", [y], perm=[0, 2, 1])
        mixed = builder.node("MatMul", f"{name}.mix", [turned, builder.tensor(f"{name}.mix.w", block.mix.T)])
        mixed = builder.node("Transpose", f"{name}.back", [mixed], perm=[0, 2, 1])
        mixed = builder.node("Mul", f"{name}.scaled", [mixed, builder.tensor(f"{name}.scale", block.scale)])
        mixed = builder.node("Add", f"{name}.biased", [mixed, builder.tensor(f"{name}.bias", block.bias[None])])
        y = builder.node("Add", f"{name}.mixed", [y, mixed])
        hidden = builder.gelu(f"{name}.gelu", builder.linear(f"{name}.expand", y, block.expand))
        y = builder.node("Add", f"{name}.out", [y, builder.linear(f"{name}.contract", hidden, block.contract)])
    mean = builder.node("ReduceMean", "mean", [y], axes=[1], keepdims=0)
    builder.linear("logits", mean, folded.head)
    classes = folded.head[1].shape[0]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 3, folded.image, folded.image])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, classes])
    graph = helper.make_graph(builder.nodes, "folded", [pixels], [logits], builder.tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)


class _Builder:
    def __init__(self):
        self.nodes, self.tensors = [], []

    def node(self, kind, name, inputs, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def tensor(self, name, values):
        self.tensors.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def reshape(self, name, value, shape):
        return self.node("Reshape", name, [value, self.tensor(f"{name}.shape", np.array(shape, np.int64))])

    def linear(self, name, value, parameters):
        weight, bias = parameters
        product = self.node("MatMul", f"{name}.product", [value, self.tensor(f"{name}.w", weight)])
        return self.node("Add", name, [product, self.tensor(f"{name}.b", bias)])

    def gelu(self, name, value):
        """Adds GELU in the form that ONNX Runtime, OpenVINO and rten all recognise."""
        root, one, half = (self.tensor(f"{name}.{n}", np.float32(v)) for n, v in [("r", math.sqrt(2)), ("1", 1), ("h", 0.5)])
        erf = self.node("Erf", f"{name}.erf", [self.node("Div", f"{name}.div", [value, root])])
        product = self.node("Mul", f"{name}.mul", [value, self.node("Add", f"{name}.add", [erf, one])])
        return self.node("Mul", name, [product, half])
