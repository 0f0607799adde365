"""OpenVINO as a candidate: it runs model.onnx of a bundle, or the graph that the harness makes of its weights.

    openvino             float32, asked for by INFERENCE_PRECISION_HINT, because the runtime's own choice on processors
                         that have bfloat16 is bfloat16
    openvino:bfloat16    that choice, under the claim that belongs to it; where the processor has it

One thread on the CPU, and otherwise the defaults. What else it does, and what the harness adds: `graphed`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from llmasos_conformance.adapters.graphed import Feed, GraphAdapter
from llmasos_conformance.errors import AddressError
from llmasos_conformance.protocol import Array, Refusal

try:
    import openvino
except ImportError as error:
    raise AddressError(
        f"{error.name} is not installed", where="openvino", hint="pip install 'llmasos[openvino]'"
    ) from None

_HINTS = {"float32": "f32", "bfloat16": "bf16"}
_KINDS = {"f32": "float32", "f64": "float64", "i64": "int64"}


@functools.cache
def _core() -> Any:
    """The runtime, which finds its devices once."""
    return openvino.Core()


class OpenvinoAdapter(GraphAdapter):
    """OpenVINO on the CPU.

    Args:
        argument: "DTYPE" or "DTYPE/SIDE", the side on which rows are padded; "" is "float32/left".

    Raises:
        AddressError: no such variant, or a processor without bfloat16.
    """

    name, dtypes = "openvino", ("float32", "bfloat16")

    def __init__(self, argument: str = "") -> None:
        super().__init__(argument)
        able = _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if self.dtype == "bfloat16" and "BF16" not in able:
            what = f"the processor computes in {', '.join(able)}"
            raise AddressError(what, where=f"openvino:{argument}", hint="openvino:float32")

    def version(self) -> str:
        return str(openvino.__version__)

    def runner(self, source: str | bytes, held: Mapping[str, Array] | None = None) -> Running:
        return Running(source, _HINTS[self.dtype])


class Running:
    """A graph in OpenVINO.

    Args:
        source: a file or its bytes. hint: the precision that the runtime is asked for.

    Raises:
        Refusal: invalid_format, when the runtime does not take it.
    """

    def __init__(self, source: str | bytes, hint: str) -> None:
        settings = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
        try:
            compiled = _core().compile_model(_core().read_model(source), "CPU", settings)
        except RuntimeError as error:
            raise Refusal("invalid_format", f"OpenVINO does not take the graph: {error!s:.300}") from None
        self._inputs, self._outputs = compiled.inputs, compiled.outputs
        self._request = compiled.create_infer_request()

    @property
    def inputs(self) -> Mapping[str, tuple[str, Sequence[int | None]]]:
        def sizes(shape: Any) -> list[int | None]:
            return [None if size.is_dynamic else size.get_length() for size in shape]

        return {
            value.any_name: (_KINDS[value.element_type.get_type_name()], sizes(value.partial_shape))
            for value in self._inputs
        }

    def run(self, feed: Feed) -> Feed:
        made = self._request.infer(feed)
        return {name: made[value] for value in self._outputs for name in value.names}  # one value may have several
