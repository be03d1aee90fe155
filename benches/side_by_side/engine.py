"""Runs one of the Python engines in a process of its own, on request (`bursts.py` describes the protocol).

python engine.py onnxruntime|openvino|litert MODEL THREADS
"""

import json
import sys
import time

import numpy as np


def onnxruntime(model, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    shape = session.get_inputs()[0].shape
    name = session.get_inputs()[0].name
    pixels = noise(shape)
    return lambda: session.run(None, {name: pixels})


def openvino(model, threads):
    import openvino

    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": "1"}
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    request.set_input_tensor(openvino.Tensor(noise(request.get_input_tensor().shape)))
    return request.infer


def litert(model, threads):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=model, num_threads=threads)
    interpreter.allocate_tensors()
    details = interpreter.get_input_details()[0]
    pixels = noise(details["shape"])
    if details["dtype"] != np.float32:
        scale, zero = details["quantization"]
        pixels = np.clip(np.round(pixels / scale + zero), -128, 127).astype(details["dtype"])
    interpreter.set_tensor(details["index"], pixels)
    return interpreter.invoke


def noise(shape):
    return np.random.default_rng(1).standard_normal([int(size) for size in shape]).astype(np.float32)


def main():
    engine, model, threads = sys.argv[1:]
    run = {"onnxruntime": onnxruntime, "openvino": openvino, "litert": litert}[engine](model, int(threads))
    run()
    print(json.dumps({}), flush=True)
    for line in sys.stdin:
        times = []
        for _ in range(int(line)):
            start = time.perf_counter()
            run()
            times.append(1e3 * (time.perf_counter() - start))
        print(json.dumps(times), flush=True)


if __name__ == "__main__":
    main()
