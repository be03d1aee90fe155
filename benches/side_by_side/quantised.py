"""Quantises the same network to 8 bits for every engine, in the way that the engine runs fastest.

Each function takes the folded network's ONNX file (for LiteRT its arrays), calibration input `[1, 3, height, width]` and a path
to write to. Packages are imported where they are used, so that the caller can leave out an engine that is not installed.
"""

import logging
from pathlib import Path

import numpy as np

MEAN = np.array([0.485, 0.456, 0.406], np.float32).reshape(3, 1, 1)
STD = np.array([0.229, 0.224, 0.225], np.float32).reshape(3, 1, 1)


def pictures(folder, image, count):
    """Returns at most `count` normalised pictures of a folder, resized to a square of `image` pixels."""
    from PIL import Image

    def load(path):
        picture = Image.open(path).convert("RGB").resize((image, image), Image.BICUBIC)
        return (((np.asarray(picture, np.float32) / 255).transpose(2, 0, 1) - MEAN) / STD)[None]

    return [load(path) for path in sorted(Path(folder).glob("*.*"))[:count]]


def onnxruntime_dynamic(onnx, path, saturates):
    """Quantises weights to 8 bits; activations are quantised at run time.

    `saturates` says that the CPU adds products of bytes in 16 bits, which 8-bit weights would overflow; weights get 7 bits then.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        onnx,
        path,
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        reduce_range=saturates,
        weight_type=QuantType.QInt8,
    )


def onnxruntime_static(onnx, inputs, path, saturates):
    """Puts every product between QuantizeLinear and DequantizeLinear, which ONNX Runtime fuses."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.left = iter(inputs)

        def get_next(self):
            pixels = next(self.left, None)
            return None if pixels is None else {"pixels": pixels}

    quantize_static(
        onnx,
        path,
        Reader(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        reduce_range=saturates,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def openvino(onnx, inputs, path):
    """Quantises with NNCF's default preset."""
    import nncf
    import openvino as ov

    nncf.set_log_level(logging.ERROR)
    model = nncf.quantize(ov.convert_model(onnx), nncf.Dataset(inputs), subset_size=len(inputs))
    ov.save_model(model, path)


def litert_float(folded, path):
    """Writes an f32 flatbuffer, converted through PyTorch."""
    import litert_torch
    import torch

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.patch = folded.patch
            self.stem = torch.nn.Conv2d(3, folded.stem[1].size, folded.patch, folded.patch)
            kernel = folded.stem[0].T.reshape(-1, 3, folded.patch, folded.patch)
            _set(self.stem, kernel, folded.stem[1])
            self.mix = torch.nn.ModuleList(_linear(block.mix.T) for block in folded.blocks)
            self.expand = torch.nn.ModuleList(_linear(*block.expand) for block in folded.blocks)
            self.contract = torch.nn.ModuleList(_linear(*block.contract) for block in folded.blocks)
            self.scales = torch.nn.ParameterList(torch.tensor(block.scale) for block in folded.blocks)
            self.biases = torch.nn.ParameterList(torch.tensor(block.bias) for block in folded.blocks)
            self.head = _linear(*folded.head)

        def forward(self, pixels):
            y = self.stem(pixels).flatten(2).transpose(1, 2)
            layers = zip(self.mix, self.scales, self.biases, self.expand, self.contract)
            for mix, scale, bias, expand, contract in layers:
                y = y + (mix(y.transpose(1, 2)).transpose(1, 2) * scale + bias)
                y = y + contract(torch.nn.functional.gelu(expand(y)))
            return self.head(y.mean(1))

    def _set(layer, weight, bias):
        layer.weight.data = torch.tensor(np.ascontiguousarray(weight))
        if bias is not None:
            layer.bias.data = torch.tensor(bias)

    def _linear(weight, bias=None):
        layer = torch.nn.Linear(*weight.shape, bias=bias is not None)
        _set(layer, weight.T, bias)
        return layer

    network = Network().eval()
    litert_torch.convert(network, (torch.zeros(1, 3, folded.image, folded.image),)).export(str(path))


def litert(float_path, inputs, path):
    """Quantises weights, activations and the residual stream to 8 bits, which is the fastest configuration."""
    from litert_quantizer import quantizer, recipe

    work = quantizer.Quantizer(str(float_path), recipe.static_wi8_ai8())
    data = {"serving_default": [{"args_0": pixels} for pixels in inputs]}
    work.quantize(work.calibrate(data)).export_model(str(path), overwrite=True)
