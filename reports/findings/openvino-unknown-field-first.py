"""OpenVINO does not read an ONNX file in which a field that it does not know stands before those that it knows.

Seen with openvino 2026.4.1, onnx 1.23.2, onnxruntime 1.32.0. Cases onnx.presentation and onnx.refused.serves-on.
Cause: before a file is parsed, is_valid_model in src/frontends/onnx/onnx_common/src/onnx_model_validator.cpp
(openvinotoolkit/openvino) looks for three fields of ModelProto from its own list, and gives up at the first field that
is not on it. Protocol Buffers let fields stand in any order, and a reader passes over those that it does not know.
Second witnesses: the onnx package loads and checks the file, onnxruntime runs it.
OpenVINO is wrong. No exporter is known to write such a file: unknown fields usually come last, and are read there.

python openvino-unknown-field-first.py      needs openvino, onnx, onnxruntime, numpy
"""

import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper

graph = helper.make_graph(
    [helper.make_node("Add", ["x", "x"], ["y"])],
    "twice",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])],
)
raw = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
unknown = b"\xe0\x76\x07"  # field 1900, a whole number, 7


def in_openvino(file: bytes) -> str:
    core = openvino.Core()
    try:
        return str(core.compile_model(core.read_model(file), "CPU")([np.ones(4, np.float32)])[0])
    except RuntimeError as error:
        return "refused: " + next(line for line in str(error).splitlines() if "Unable" in line)


for name, file in {"as it is": raw, "unknown field last": raw + unknown, "unknown field first": unknown + raw}.items():
    onnx.checker.check_model(onnx.load_from_string(file))
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    print(f"{name:20} onnxruntime {session.run(None, {'x': np.ones(4, np.float32)})[0]}  openvino {in_openvino(file)}")
