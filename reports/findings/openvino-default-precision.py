"""OpenVINO computes a float32 graph in bfloat16 unless it is told not to, on processors that have bfloat16.

Seen with openvino 2026.4.1, onnx 1.23.2, onnxruntime 1.32.0 and numpy 2.4.6 on an AMD EPYC with AVX512_BF16.
Cause: the runtime's own choice of INFERENCE_PRECISION_HINT, which the compiled model tells when it is asked; results
are labelled float32 all the same. Second witness: onnxruntime on the same bytes. It is no fault, since it can be seen
and set; but who claims float32 has to set the hint to f32, as the adapter `openvino` does.

python openvino-default-precision.py      needs openvino, onnx, onnxruntime, numpy
"""

import numpy as np
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper

random = np.random.default_rng(0)
x, w = random.normal(size=(4, 256)).astype(np.float32), random.normal(size=(256, 256)).astype(np.float32)
graph = helper.make_graph(
    [helper.make_node("MatMul", ["x", "w"], ["y"])],
    "product",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 256])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 256])],
    [numpy_helper.from_array(w, "w")],
)
raw = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
due = x.astype(np.float64) @ w.astype(np.float64)

core = openvino.Core()
print("openvino", openvino.__version__, core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
for name, settings in {"default": {}, "hint f32": {"INFERENCE_PRECISION_HINT": "f32"}}.items():
    compiled = core.compile_model(core.read_model(raw), "CPU", settings)
    hint = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    got = compiled([x])[0]
    print(f"{name:12} hint {hint:5} result {got.dtype}  largest error {np.abs(got - due).max():.1e}")
run = onnxruntime.InferenceSession(raw, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
print(f"onnxruntime             result {run.dtype}  largest error {np.abs(run - due).max():.1e}")
