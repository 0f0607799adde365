"""onnxruntime as a candidate: it runs model.onnx of a bundle, or the graph that the harness makes of its weights.

One thread on the CPU, and the default optimisations. What else it does, and what the harness adds: `graphed`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llmasos_conformance.adapters.graphed import Feed, GraphAdapter
from llmasos_conformance.errors import AddressError
from llmasos_conformance.protocol import Array, Refusal

try:
    import onnxruntime
except ImportError as error:
    raise AddressError(
        f"{error.name} is not installed", where="onnxruntime", hint="pip install 'llmasos[onnx]'"
    ) from None

_KINDS = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(int64)": "int64"}


class OnnxruntimeAdapter(GraphAdapter):
    """onnxruntime on the CPU.

    Args:
        argument: "DTYPE" or "DTYPE/SIDE", the side on which rows are padded; "" is "float32/left".

    Raises:
        AddressError: no such variant.
    """

    name, dtypes, takes_arrays = "onnxruntime", ("float32", "float64"), True

    def version(self) -> str:
        return str(onnxruntime.__version__)

    def runner(self, source: str | bytes, held: Mapping[str, Array] | None = None) -> Running:
        return Running(source, held)


class Running:
    """A graph in onnxruntime.

    Args:
        source: a file or its bytes. held: tensors that lie in no file, by name.

    Raises:
        Refusal: invalid_format, when the runtime does not take it.
    """

    def __init__(self, source: str | bytes, held: Mapping[str, Array] | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # sums then run in one order
        options.log_severity_level = 4
        if held:
            values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in held.values()]
            options.add_external_initializers(list(held), values)
        try:
            self._session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its own exceptions share no base class
            raise Refusal("invalid_format", f"onnxruntime does not take the graph: {error!s:.300}") from None
        self._held = held  # the runtime reads the arrays where they lie
        self._names = [value.name for value in self._session.get_outputs()]

    @property
    def inputs(self) -> Mapping[str, tuple[str, Sequence[int | None]]]:
        def sizes(shape: Sequence[int | str | None]) -> list[int | None]:
            return [size if isinstance(size, int) else None for size in shape]

        return {value.name: (_KINDS[value.type], sizes(value.shape)) for value in self._session.get_inputs()}

    def run(self, feed: Feed) -> Feed:
        return dict(zip(self._names, self._session.run(self._names, feed), strict=True))
