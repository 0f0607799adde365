// Runtimes of Node, for an adapter in Python: `node host.mjs PACKAGE DIRECTORY…`
//
// A question is a line of JSON and the bytes of its arrays, in the order of `frames`; so is an answer. PACKAGE is looked
// for in the directories, which are of the kind node_modules. Everything that computes is the package's.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const write = process.stdout.write.bind(process.stdout);
process.stdout.write = process.stderr.write.bind(process.stderr);
console.log = console.info = console.debug = console.warn = console.error;

const ARRAYS = { float32: Float32Array, float64: Float64Array, int64: BigInt64Array };
const ONE_THREAD = { intraOpNumThreads: 1, interOpNumThreads: 1, logSeverityLevel: 4 };

/** The package that is asked for, and its version. */
function found(name, directories) {
  for (const directory of directories) {
    const require = createRequire(join(directory, "none.js"));
    let path;
    try {
      path = require.resolve(name);
    } catch {
      continue;
    }
    const version = JSON.parse(readFileSync(join(directory, name, "package.json"))).version;
    return { library: require(path), version };
  }
  throw Object.assign(new Error(`no package ${name} in ${directories.join(", ")}`), { name: "NotFound" });
}

/** Tensors of a runtime, from what came and to what goes. */
const read = (Tensor, arrays) => Object.fromEntries(Object.entries(arrays).map(
  ([name, { dtype, shape, data }]) => [name, new Tensor(dtype, data, shape)]));
const told = (tensors) => Object.fromEntries(Object.entries(tensors).map(
  ([name, tensor]) => [name, { dtype: tensor.type, shape: [...tensor.dims], data: tensor.data }]));

// ── onnxruntime-node, onnxruntime-web ───────────────────────────────────────────────────────────────────────────────

function graphs({ library: { InferenceSession, Tensor, env } }) {
  env.wasm.numThreads = 1;
  return {
    async load({ path, graph, outside = {} }) {
      const externalData = Object.entries(outside).map(([path, { data }]) => ({ path, data }));
      const options = externalData.length ? { ...ONE_THREAD, externalData } : ONE_THREAD;
      const session = await InferenceSession.create(path ?? graph.data, options);
      const inputs = session.inputMetadata.map(({ name, type, shape }) => ({
        name, dtype: type, sizes: shape.map((size) => (typeof size === "number" ? size : null)) }));
      return { kept: session, inputs };
    },
    async run({ kept, feed }) {
      return told(await kept.run(read(Tensor, feed)));
    },
    free: (session) => session.release(),
  };
}

// ── Transformers.js ─────────────────────────────────────────────────────────────────────────────────────────────────

function transformers({ library }) {
  const { env, random, Tensor } = library;
  env.allowRemoteModels = false;
  const rowsOf = (sequences) => sequences.tolist().map((row) => row.map(Number));
  return {
    /** A directory as from_pretrained reads it. */
    async load({ directory, kind }) {
      env.localModelPath = directory;
      const options = { dtype: "fp32", device: "cpu", session_options: ONE_THREAD };
      return { kept: await library[kind].from_pretrained("model", options) };
    },
    /** All outputs of a call of the model that are no keys and values. */
    async forward({ kept, feed }) {
      const outputs = await kept(read(Tensor, feed));
      return told(Object.fromEntries(Object.entries(outputs).filter(([name]) => !name.startsWith("present"))));
    },
    /** Logits of ids behind a cache, or behind nothing, and the cache behind both. */
    async extend({ kept, past = null, feed }) {
      const outputs = await kept({ ...read(Tensor, feed), past_key_values: past?.held ?? null });
      const held = Object.fromEntries(Object.entries(outputs).filter(([name]) => name.startsWith("present")).map(
        ([name, tensor]) => [name.replace("present", "past_key_values"), tensor]));
      return { kept: { held }, ...told({ logits: outputs.logits }) };
    },
    /** Rows with what is generated behind them. */
    async generate({ kept, feed, options, seed = null }) {
      if (seed === null) random.seed();
      else random.seed(seed);
      return { rows: rowsOf(await kept.generate({ ...read(Tensor, feed), ...options })) };
    },
    free: (held) => held.dispose?.(),
  };
}

const KINDS = { "@huggingface/transformers": transformers };

// ── the wire ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Questions with their arrays; nothing else is asked before one is answered. */
async function* questions(stream) {
  let held = [], size = 0;
  const chunks = stream[Symbol.asyncIterator]();
  /** As many bytes, or all up to an end of a line. */
  const take = async (count) => {
    for (;;) {
      if (count === null) {
        const last = held.at(-1)?.indexOf(10) ?? -1;
        if (last >= 0) count = size - held.at(-1).length + last + 1;
      }
      if (count !== null && size >= count) {
        const all = held.length === 1 ? held[0] : Buffer.concat(held);
        held = [all.subarray(count)];
        size -= count;
        return all.subarray(0, count);
      }
      const { value, done } = await chunks.next();
      if (done) return null;
      held.push(value);
      size += value.length;
    }
  };
  for (let line; (line = await take(null)) !== null; ) {
    const asked = JSON.parse(line);
    const frames = [];
    for (const count of asked.frames) frames.push(await take(count));
    yield { ...asked, params: withArrays(asked.params, frames) };
  }
}

function withArrays(value, frames) {
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map((item) => withArrays(item, frames));
  if ("frame" in value) {
    const bytes = new Uint8Array(frames[value.frame]); // a copy, so that it is aligned
    return { ...value, data: value.dtype === "bytes" ? bytes : new ARRAYS[value.dtype](bytes.buffer) };
  }
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, withArrays(item, frames)]));
}

function withoutArrays(value, frames) {
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map((item) => withoutArrays(item, frames));
  if (ArrayBuffer.isView(value.data)) {
    const { dtype, shape, data } = value;
    return { dtype, shape, frame: frames.push(Buffer.from(data.buffer, data.byteOffset, data.byteLength)) - 1 };
  }
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, withoutArrays(item, frames)]));
}

const [name, ...directories] = process.argv.slice(2);
let methods, version;
try {
  if (Number.parseInt(process.versions.node) < 20) throw new Error(`Node 20 is needed, this is ${process.versions.node}`);
  const package_ = found(name, directories);
  version = package_.version;
  methods = (KINDS[name] ?? graphs)(package_);
} catch (error) {
  methods = { hello: () => Promise.reject(error) };
}
const kept = new Map();
let made = 0;
for await (const { method, params, release } of questions(process.stdin)) {
  const frames = [];
  let answer;
  try {
    for (const handle of release) {
      await methods.free(kept.get(handle));
      kept.delete(handle);
    }
    if (method === "hello" && version !== undefined) {
      answer = { result: { version, node: process.versions.node } };
    } else {
      for (const role of ["kept", "past"]) if (role in params) params[role] = kept.get(params[role]);
      const result = await methods[method](params);
      if ("kept" in result) {
        kept.set(++made, result.kept);
        result.kept = made;
      }
      answer = { result: withoutArrays(result, frames) };
    }
  } catch (error) {
    answer = { error: String(error?.message ?? error), kind: String(error?.name ?? typeof error) };
  }
  const line = JSON.stringify({ ...answer, frames: frames.map((frame) => frame.length) }) + "\n";
  write(Buffer.concat([Buffer.from(line.toWellFormed?.() ?? line), ...frames])); // who asks waits for it, so that nothing piles up
}
process.exit(0);
