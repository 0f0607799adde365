"""The architectures that this version runs, by the name that model.json gives them.

"Transformer", "BERT" and "Llama" are known to the format, so that their documents can be read and described; running
them raises UnsupportedArchitecture.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType

from llmasos.architectures import gpt3
from llmasos.errors import UnsupportedArchitecture

RUNNABLE: Mapping[str, ModuleType] = {"GPT-3": gpt3}


def architecture(name: str) -> ModuleType:
    """The module of an architecture.

    Raises:
        UnsupportedArchitecture: known to the format, but not run by this version.
    """
    if name not in RUNNABLE:
        raise UnsupportedArchitecture(
            f"this version reads and describes {name!r} but does not run it",
            "model.json architecture",
            f"it runs {', '.join(RUNNABLE)}",
        )
    return RUNNABLE[name]
