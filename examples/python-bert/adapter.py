"""An encoder as a candidate: the engine's own calls stand here, the rest is the adapter kit's and declared as emulated.

Put your engine behind `Model`. Where it brings more of its own (its way to fill a mask, what it sees inside, …: the
table in `python -m pydoc llmasos_conformance.protocol`), override the method and name it in `OWN`. An encoder refuses
to generate, which the kit does for it.
"""

import vendor_engine

from llmasos_conformance.adapters import kit
from llmasos_conformance.protocol import Encoding

ARCHITECTURES = ("BERT",)
"""What the engine computes: described, and taken by the loader."""
OWN = ()
"""Behaviour that is the engine's and not the kit's."""


class Model(kit.KitEncoder):
    def __init__(self, bundle):
        super().__init__(bundle)
        kit.refuse_large(bundle.weights, "float32")
        self.engine = vendor_engine.Engine(bundle.config, bundle.weights)

    def forward(self, batch, types=None):
        return [self.engine.logits(x) for x in self.hidden(batch, types)]

    def encode(self, batch, types=None):
        return [Encoding(hidden=x, pooled=self.engine.pooled(x)) for x in self.hidden(batch, types)]

    def hidden(self, batch, types):
        rows = [kit.check_ids(self.config, row) for row in batch]
        kinds = kit.beside(batch, types, "types")
        return [
            self.engine.hidden(row, kit.check_types(self.config, each, len(row)))
            for row, each in zip(rows, kinds, strict=True)
        ]


class Adapter:
    def describe(self):
        capabilities = ["load_model", "tokenize", "forward", "encode", "fill_mask"]
        return {"name": "mine", "version": "0.1", "architectures": [*ARCHITECTURES], "capabilities": capabilities,
                "claims": {"dtype": "float32", "determinism": "D1"}, "emulated": kit.emulated(*OWN)}  # fmt: skip

    def load_model(self, path):
        return Model(kit.read_bundle(path, ARCHITECTURES))
