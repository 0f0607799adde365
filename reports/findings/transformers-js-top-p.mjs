// Transformers.js takes top_p, and samples as if it had not come.
//
// Seen with @huggingface/transformers 4.3.1 over onnxruntime-node 1.30.0, Node 20.20.2. No case asks it: the adapter
// filters by itself, and says so.
// Cause: TopPLogitsWarper in src/generation/logits_process.js (huggingface/transformers.js) has a constructor and nothing
// else, and _get_logits_processor in src/models/modeling_utils.js makes none; a remark there says that it is to be added.
// Another in `generate` says so of beams: num_beams is taken, and one is followed. top_k is honoured, by the sampler.
// Second witness: `generate` of transformers 5.24.0 for Python, with these logits and options, gave id 0 in 400 of 400
// tokens with top_p 0.1, and ids 0 and 1 alone with 0.6. Transformers.js is wrong: it should refuse what it does not do.
//
// node transformers-js-top-p.mjs node_modules      needs @huggingface/transformers there

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const modules = resolve(process.argv[2] ?? "node_modules", "x.js");
const { env, random, GPT2LMHeadModel, Tensor } = createRequire(modules)("@huggingface/transformers");

// Protocol Buffers, as much as a graph needs: numbers, texts and bytes, messages.
const varint = (n) => (n < 128 ? [n] : [(n % 128) | 128, ...varint(Math.floor(n / 128))]);
const number = (field, n) => [...varint(field * 8), ...varint(n)];
const bytes = (field, value) => {
  const raw = typeof value === "string" ? [...Buffer.from(value)] : [...value];
  return [...varint(field * 8 + 2), ...varint(raw.length), ...raw];
};
const FLOAT = 1, INT64 = 7;
const node = (type, inputs, output, ...attributes) =>
  bytes(1, [...inputs.flatMap((name) => bytes(1, name)), ...bytes(2, output), ...bytes(4, type), ...attributes.flat()]);
const attribute = (name, n) => bytes(5, [...bytes(1, name), ...number(3, n), ...number(20, 2)]);
const constant = (name, type, shape, data) =>
  bytes(5, [...shape.flatMap((size) => number(1, size)), ...number(2, type), ...bytes(8, name),
    ...bytes(9, new Uint8Array(data.buffer))]);
const value = (field, name, type, ...shape) => {
  const sizes = shape.map((size) => bytes(1, typeof size === "number" ? number(1, size) : bytes(2, size)));
  return bytes(field, [...bytes(1, name), ...bytes(2, bytes(1, [...number(1, type), ...bytes(2, sizes.flat())]))]);
};

// A decoder that has these logits behind every id, and keeps the ids in the place of keys and values.
const LOGITS = [2, 1.5, 1, -1], V = LOGITS.length, parts = ["key", "value"];
const graph = [
  node("Gather", ["table", "input_ids"], "logits"),
  node("Cast", ["input_ids"], "numbers", attribute("to", FLOAT)),
  node("Unsqueeze", ["numbers", "axes"], "new"),
  ...parts.map((part) => node("Concat", [`past_key_values.0.${part}`, "new"], `present.0.${part}`, attribute("axis", 2))),
  bytes(2, "graph"),
  constant("table", FLOAT, [V, V], Float32Array.from(Array(V).fill(LOGITS).flat())),
  constant("axes", INT64, [2], BigInt64Array.of(1n, 3n)),
  value(11, "input_ids", INT64, "b", "t"), value(11, "attention_mask", INT64, "b", "s"),
  ...parts.map((part) => value(11, `past_key_values.0.${part}`, FLOAT, "b", 1, "p", 1)),
  value(12, "logits", FLOAT, "b", "t", V),
  ...parts.map((part) => value(12, `present.0.${part}`, FLOAT, "b", 1, "s", 1)),
];
const model = Uint8Array.from([...number(1, 8), ...bytes(8, number(2, 17)), ...bytes(7, graph.flat())]);

const place = mkdtempSync(join(tmpdir(), "top-p-"));
mkdirSync(join(place, "model", "onnx"), { recursive: true });
writeFileSync(join(place, "model", "onnx", "model.onnx"), model);
const config = { model_type: "gpt2", architectures: ["GPT2LMHeadModel"], vocab_size: V, n_head: 1, n_layer: 1, n_embd: 1 };
writeFileSync(join(place, "model", "config.json"), JSON.stringify(config));
env.allowRemoteModels = false;
env.localModelPath = place;
const gpt2 = await GPT2LMHeadModel.from_pretrained("model", { dtype: "fp32", device: "cpu" });
rmSync(place, { recursive: true });

const total = LOGITS.reduce((sum, logit) => sum + Math.exp(logit), 0);
console.log(`probabilities ${LOGITS.map((logit) => (Math.exp(logit) / total).toFixed(3)).join(" ")}`);
const one = new Tensor("int64", BigInt64Array.of(0n), [1, 1]);
for (const options of [{ top_k: 0 }, { top_k: 2 }, { top_k: 0, top_p: 0.1 }, { top_k: 0, top_p: 0.6 }]) {
  random.seed(1);
  const made = await gpt2.generate({ input_ids: one, attention_mask: one, max_new_tokens: 400, do_sample: true, ...options });
  const counts = LOGITS.map((_, id) => made.tolist()[0].slice(1).filter((each) => Number(each) === id).length);
  console.log(`${JSON.stringify(options).padEnd(24)} each id of 400: ${counts.join(" ")}`);
}
