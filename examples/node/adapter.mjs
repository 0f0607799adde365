// A runtime as a candidate of LLMasOS; the harness starts it as `cmd:node adapter.mjs`. Wherever `engine` is asked,
// yours is: engine.mjs stands in its place, and runs as it is.

import { readBundle } from "./bundle.mjs";
import { Engine } from "./engine.mjs";
import { Refusal, serve, tensor } from "./llmasos.mjs";

class Model {
  constructor(path) {
    this.engine = new Engine(readBundle(path));
  }

  /** Logits of every position, a tensor [T, V] for each row. */
  forward({ ids, sources, types }) {
    if (sources || types) throw new Refusal("invalid_argument", "a GPT-3 takes ids alone");
    return { logits: ids.map((row) => tensor(this.engine.logits(row), [row.length, this.engine.config.V])) };
  }

  generate_ids({ ids, ...options }) {
    const { given, ids: made, ended } = this.engine.generate(ids, options);
    return generation(given, made, ended);
  }

  generate_text({ prompt, ...options }) {
    const { text, speaking } = this.engine;
    const { given, ids, ended } = this.engine.generate(text.encode(prompt), options, speaking);
    return { ...generation(given, ids, ended), text: text.decode(ended ? ids.slice(0, -1) : ids) };
  }
}

const generation = (given, ids, ended) => ({
  finish_reason: ended ? "stop" : "length", ids, prompt_tokens: given.length, completion_tokens: ids.length,
});

serve({
  describe: () => ({
    name: "mine", version: "1.0", architectures: ["GPT-3"], runtime: { node: process.versions.node },
    capabilities: ["load_model", "forward", "generate_ids", "seed", "gumbel"],
    claims: { dtype: "float64", determinism: "D1" }, // what engine.mjs computes in: say what yours does, and take out
    // "gumbel" and "seed" above where yours draws other noise, or none, from a seed
    // What these files do for your runtime. Delete the line of what it does itself.
    emulated: {
      format: "bundles are read and judged by bundle.mjs",
      generate_text: "text is turned into ids and back by tokenizer.mjs",
    },
  }),
  load_model: ({ path }) => ({ model: new Model(path) }),
});
