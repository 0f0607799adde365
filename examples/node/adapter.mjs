// A runtime as a candidate of LLMasOS; the harness starts it as `cmd:node adapter.mjs`. Wherever `engine` is asked,
// yours is: engine.mjs stands in its place, and runs as it is.

import { readBundle } from "./bundle.mjs";
import { Engine } from "./engine.mjs";
import { Refusal, serve, tensor } from "./llmasos.mjs";
import { begun, checked, options, speaking } from "./requests.mjs";
import { openTokenizer } from "./tokenizer.mjs";

class Model {
  constructor(bundle) {
    this.config = bundle.config;
    this.text = openTokenizer(bundle); // null where ids have no text
    this.engine = new Engine(bundle);
  }

  /** Logits of every position, a tensor [T, V] for each row. */
  forward({ ids, sources, types }) {
    if (sources || types) throw new Refusal("invalid_argument", "a GPT-3 takes ids alone");
    return {
      logits: ids.map((row) => tensor(this.engine.logits(checked(row, this.config)), [row.length, this.config.V])),
    };
  }

  generate_ids({ ids, ...asked }) {
    return this.generation(ids, asked, null);
  }

  generate_text({ prompt, ...asked }) {
    if (this.text === null) throw new Refusal("unsupported", "the model has no tokenizer");
    return this.generation(this.text.encode(prompt), asked, speaking(this.config, this.text));
  }

  generation(prompt, asked, allowed) {
    const { max_length, temperature, seed } = options(asked);
    const given = begun(prompt, this.config), limit = Math.min(max_length, this.config.context - given.length);
    const ids = this.engine.generate(given, { limit, temperature, seed }, allowed);
    const ended = this.config.eos.has(ids.at(-1));
    const made = { finish_reason: ended ? "stop" : "length", ids, prompt_tokens: given.length };
    if (this.text) made.text = this.text.decode(ended ? ids.slice(0, -1) : ids);
    return { ...made, completion_tokens: ids.length };
  }
}

serve({
  describe: () => ({
    name: "mine", version: "1.0", architectures: ["GPT-3"], runtime: { node: process.versions.node },
    // Take out "gumbel" where yours draws other noise than docs/gumbel.md, and "seed" too where a seed repeats nothing.
    capabilities: ["load_model", "forward", "generate_ids", "seed", "gumbel"],
    claims: { dtype: "float64", determinism: "D1" }, // what engine.mjs computes in: say what yours does
    // What these files do for your runtime. Delete the line of what it does itself.
    emulated: {
      format: "bundles are read and judged by bundle.mjs",
      arguments: "options and ids are judged by requests.mjs",
      generate_text: "text is turned into ids and back by tokenizer.mjs",
    },
  }),
  load_model: ({ path }) => ({ model: new Model(readBundle(path)) }),
});
