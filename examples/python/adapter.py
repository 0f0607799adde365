"""An engine as a candidate: the engine's own calls stand here, the rest is the adapter kit's and declared as emulated.

Put your engine behind `Model` and `Session`. Where it brings more of its own (a generation loop, batches, scores, …:
the table in `python -m pydoc llmasos_conformance.protocol`), override the method and name it in `OWN`. The `Model` of
an encoder is a `kit.KitEncoder`, with `encode` and `fill_mask` and no session, that of an encoder-decoder a
`kit.KitEncoderDecoder`.
"""

import copy

import vendor_engine

from llmasos_conformance.adapters import kit

ARCHITECTURES = ("GPT-3",)
"""What the engine computes: described, and taken by the loader."""
OWN = ("session",)
"""Behaviour that is the engine's and not the kit's."""


class Model(kit.KitModel):
    def __init__(self, bundle):
        super().__init__(bundle)
        kit.refuse_large(bundle.weights, "float32")
        self.engine = vendor_engine.Engine(bundle.config, bundle.weights)

    def forward(self, batch):
        return [self.engine.logits(kit.check_ids(self.config, row))[0] for row in batch]

    def open(self, ids, source=None):
        kit.refuse_beside(source=source)
        return Session(self, ids)


class Session:
    def __init__(self, model, ids):
        self.model, self.held, self.cache = model, 0, ()
        self.logits = self.extend(ids)

    def extend(self, ids):
        cache = kit.still_open(self.cache)
        row = kit.check_ids(self.model.config, ids, self.held)
        self.logits, self.cache = self.model.engine.logits(row, cache)
        self.held += len(row)
        return self.logits

    def fork(self):
        kit.still_open(self.cache)
        return copy.copy(self)  # enough as long as the engine makes a new cache and never writes into one

    def close(self):
        self.cache = None


class Adapter:
    def describe(self):
        capabilities = ["load_model", "tokenize", "forward", "generate_ids", "session"]
        return {"name": "mine", "version": "0.1", "architectures": [*ARCHITECTURES], "capabilities": capabilities,
                "claims": {"dtype": "float32", "determinism": "D1"}, "emulated": kit.emulated(*OWN)}  # fmt: skip

    def load_model(self, path):
        return Model(kit.read_bundle(path, ARCHITECTURES))
