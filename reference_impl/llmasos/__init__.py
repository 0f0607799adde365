"""LLMasOS made executable: a model is a directory of data, and what it must do is what this package does.

    import llmasos

    model = llmasos.load_model("path/to/model.json")
    print(model.generate_text(prompt="你好，世界！"))

Expected behaviour is computed in float64 with NumPy alone.
"""

from llmasos.bundle import Bundle, new_bundle, read_bundle, write_bundle
from llmasos.config import ModelConfig
from llmasos.errors import (
    ContextOverflow,
    InvalidArgument,
    InvalidFormat,
    LLMasOSError,
    NotFound,
    UnknownParameter,
    Unsupported,
    UnsupportedArchitecture,
    UnsupportedVersion,
)
from llmasos.generation import Generation
from llmasos.inspection import Inspection, inspect
from llmasos.metrics import Bleu, Perplexity, Rouge, RougeScore, bleu, perplexity, rouge
from llmasos.model import Encoding, Model, Session, generate_text, load_model

__version__ = "0.1.0"

__all__ = [
    "Bleu",
    "Bundle",
    "ContextOverflow",
    "Encoding",
    "Generation",
    "Inspection",
    "InvalidArgument",
    "InvalidFormat",
    "LLMasOSError",
    "Model",
    "ModelConfig",
    "NotFound",
    "Perplexity",
    "Rouge",
    "RougeScore",
    "Session",
    "UnknownParameter",
    "Unsupported",
    "UnsupportedArchitecture",
    "UnsupportedVersion",
    "bleu",
    "generate_text",
    "inspect",
    "load_model",
    "new_bundle",
    "perplexity",
    "read_bundle",
    "rouge",
    "write_bundle",
]
