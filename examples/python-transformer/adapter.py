"""An encoder-decoder as a candidate: the engine's own calls stand here, the rest is the adapter kit's and declared so.

A prompt is the source, and the target is generated. Put your engine behind `Model` and `Session`. Where it brings more
of its own (a generation loop, batches, scores, …: the table in `python -m pydoc llmasos_conformance.protocol`),
override the method and name it in `OWN`.
"""

import copy

import vendor_engine

from llmasos_conformance.adapters import kit

ARCHITECTURES = ("Transformer",)
"""What the engine computes: described, and taken by the loader."""
OWN = ("session",)
"""Behaviour that is the engine's and not the kit's."""


class Model(kit.KitEncoderDecoder):
    def __init__(self, bundle):
        super().__init__(bundle)
        kit.refuse_large(bundle.weights, "float32")
        self.engine = vendor_engine.Engine(bundle.config, bundle.weights)

    def forward(self, batch, sources=None):
        kit.require_beside(sources=sources)
        pairs = zip(batch, kit.beside(batch, sources, "sources"), strict=True)
        return [self.open(row, source).logits for row, source in pairs]

    def open(self, ids, source=None):
        kit.require_beside(source=source)
        return Session(self, ids, source)


class Session:
    def __init__(self, model, ids, source):
        self.model, self.held = model, 0
        self.cache = model.engine.read(kit.check_ids(model.config, source))
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
