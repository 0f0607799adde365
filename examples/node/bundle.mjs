// The model format, read and judged: model.json, model.safetensors, tokenizer.json of a GPT-3.
//
// Whoever has a loader of his own replaces this file, and deletes its line of `emulated` in the description.

import { createHash } from "node:crypto";
import { lstatSync, readFileSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { Refusal } from "./llmasos.mjs";

function must(condition, what) {
  if (!condition) throw new Refusal("invalid_format", what);
}

/**
 * A valid bundle: `config` with defaults filled in, `weights` by name as { data, shape }, `tokenizer` as a value of
 * `parse`, or null where there is no file.
 *
 * Refuses with not_found, invalid_format, unsupported_version, unsupported_architecture or unsupported.
 */
export function readBundle(path) {
  const directory = directoryOf(path);
  const raw = file(directory, "model.json", 2 ** 20);
  if (raw === null) throw new Refusal("not_found", "no model.json");
  const document = parse(raw);
  const config = readDocument(document);
  const shapes = tensorShapes(config);
  const stored = file(directory, "model.safetensors");
  const digest = document.get("weights")?.get("sha256");
  must(stored !== null || digest === undefined, "weights are stated and absent");
  const seed = document.get("initialisation")?.get("seed");
  if (stored === null && seed === undefined && file(directory, "model.onnx") !== null) {
    throw new Refusal("unsupported", "the weights are in model.onnx alone");
  }
  const weights = stored === null ? initialise(shapes, seed ?? 0n) : readTensors(stored, digest, shapes);
  const encoded = file(directory, "tokenizer.json");
  return { config, weights, tokenizer: encoded === null ? null : parse(encoded) };
}

function directoryOf(path) {
  if (path.includes("\0")) throw new Refusal("invalid_argument", "no path");
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) throw new Refusal("not_found", "nothing at the path");
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) return path;
  must(basename(path) === "model.json", "neither a directory nor a model.json");
  return dirname(path);
}

/** The bytes of a plain file; null if there is none of that name. Links may lead out of the bundle, and are refused. */
function file(directory, name, most = Infinity) {
  const path = join(directory, name);
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return null;
  must(found.isFile() && found.size <= most, `${name} is no plain file, or too large`);
  try {
    return readFileSync(path);
  } catch (error) {
    throw new Refusal(error.code === "ERR_FS_FILE_TOO_LARGE" ? "unsupported" : "invalid_format", error.message);
  }
}

// ── JSON ────────────────────────────────────────────────────────────────────────────────────────────────────────────

const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const TEXT = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
const SPACE = /[ \t\r\n]*/y;

/**
 * Strict JSON: objects become Maps, integers BigInts, and whatever two readers might take for different things is
 * refused with invalid_format: a key twice, what is no UTF-8 or no whole character, numbers that are not finite, and
 * what is deeper than 64 levels. JSON.parse sees none of these, nor the difference between 1 and 1.0.
 */
export function parse(raw) {
  let text, at = 0;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(raw); // takes one byte-order mark off the front
  } catch {
    must(false, "no UTF-8");
  }
  const next = (pattern) => {
    pattern.lastIndex = at;
    const found = pattern.exec(text)?.[0];
    at += found?.length ?? 0;
    return found;
  };
  const take = (sign) => {
    next(SPACE);
    return text.startsWith(sign, at) && ((at += sign.length), true);
  };
  const string = () => {
    next(SPACE);
    const found = next(TEXT);
    must(found !== undefined, `no text at ${at}`);
    const value = JSON.parse(found);
    must(value.isWellFormed(), "half a character");
    return value;
  };
  const value = (depth) => {
    must(depth <= 64, "nested deeper than 64");
    if (take("{")) {
      const made = new Map();
      if (take("}")) return made;
      do {
        const key = string();
        must(!made.has(key), `the key ${key} appears twice`);
        must(take(":"), `no colon at ${at}`);
        made.set(key, value(depth + 1));
      } while (take(","));
      must(take("}"), `no end of an object at ${at}`);
      return made;
    }
    if (take("[")) {
      const made = [];
      if (take("]")) return made;
      do made.push(value(depth + 1)); while (take(","));
      must(take("]"), `no end of a list at ${at}`);
      return made;
    }
    for (const [word, meaning] of [["true", true], ["false", false], ["null", null]]) if (take(word)) return meaning;
    if (text[at] === '"') return string();
    const number = next(NUMBER);
    must(number !== undefined && Number.isFinite(Number(number)), `no value at ${at}`);
    return /[.eE]/.test(number) ? Number(number) : BigInt(number);
  };
  const made = value(1);
  next(SPACE);
  must(at === text.length, `more than a value, at ${at}`);
  return made;
}

/** Whether a value is an integer of low … high; true and 1.0 are none. */
function natural(value, low, high) {
  return typeof value === "bigint" && low <= value && value <= high;
}

/** An object with all of the required members and none beside the optional ones. */
function closed(value, what, required, optional = []) {
  must(value instanceof Map, `${what} is no object`);
  for (const key of value.keys()) must(required.includes(key) || optional.includes(key), `${what} has ${key}`);
  for (const key of required) must(value.has(key), `${what} lacks ${key}`);
  return value;
}

// ── model.json ──────────────────────────────────────────────────────────────────────────────────────────────────────

const WORDS = "[0-9A-Za-z-]+(?:\\.[0-9A-Za-z-]+)*", NUMERIC = "(?:0|[1-9]\\d*)";
/** MAJOR.MINOR, or semantic versioning: the major version, and the words of a pre-release. */
const VERSION = new RegExp(`^(${NUMERIC})\\.${NUMERIC}(?:\\.${NUMERIC}(?:-(${WORDS}))?(?:\\+${WORDS})?)?$`);

/** The parameters of a document, defaults filled in. The version is judged before what it may have changed. */
function readDocument(document) {
  must(document instanceof Map, "model.json is no object");
  const version = document.get("version");
  const parts = typeof version === "string" && VERSION.exec(version);
  must(parts && (parts[2] ?? "").split(".").every((word) => !/^0\d+$/.test(word)), "version is none");
  if (parts[1] !== "1") throw new Refusal("unsupported_version", `version ${version}`);
  closed(document, "model.json", ["name", "version", "architecture"],
    ["parameters", "metadata", "initialisation", "weights"]);
  const [name, architecture] = [document.get("name"), document.get("architecture")];
  must(typeof name === "string" && name && typeof architecture === "string" && architecture, "a name is no text");
  if (architecture !== "GPT-3") throw new Refusal("unsupported_architecture", `${architecture} does not run here`);
  must(!document.has("metadata") || document.get("metadata") instanceof Map, "metadata is no object");
  if (document.has("initialisation")) {
    const seed = closed(document.get("initialisation"), "initialisation", ["seed"]).get("seed");
    must(natural(seed, 0n, 2n ** 53n - 1n), "seed is no integer that JSON can carry");
  }
  if (document.has("weights")) {
    const digest = closed(document.get("weights"), "weights", ["sha256"]).get("sha256");
    must(typeof digest === "string" && /^[0-9a-f]{64}$/.test(digest), "sha256 is no digest");
  }
  must(document.has("parameters"), "parameters are missing");
  return readParameters(document.get("parameters"));
}

function readParameters(given) {
  closed(given, "parameters", ["vocab_size", "embedding_dim", "num_layers"], [
    "num_heads", "feed_forward_dim", "context_length", "activation", "tie_embeddings", "bos_token_id",
    "eos_token_ids", "layer_norm_epsilon", "local_attention_window"]);
  const or = (name, otherwise) => (given.has(name) ? given.get(name) : otherwise);
  const size = (name, bits, otherwise) => {
    const value = or(name, otherwise);
    must(natural(value, 1n, 2n ** BigInt(bits)), `${name} is no integer of 1 … 2^${bits}`);
    return Number(value);
  };
  const V = size("vocab_size", 24), D = size("embedding_dim", 16), layers = size("num_layers", 12);
  const heads = size("num_heads", 16, D % 64 ? 1n : BigInt(D / 64));
  const F = size("feed_forward_dim", 20, BigInt(4 * D)), context = size("context_length", 22, 1024n);
  must(or("activation", "gelu_tanh") === "gelu_tanh", "activation is not gelu_tanh");
  const tied = or("tie_embeddings", true);
  must(typeof tied === "boolean", "tie_embeddings is neither true nor false");
  const isId = (value) => natural(value, 0n, BigInt(V - 1));
  const bos = or("bos_token_id", null), eos = or("eos_token_ids", []);
  must(bos === null || isId(bos), "bos_token_id is no id");
  must(Array.isArray(eos) && eos.every(isId) && new Set(eos).size === eos.length, "eos_token_ids are no ids");
  let epsilon = or("layer_norm_epsilon", 1e-5);
  must(typeof epsilon === "number" || typeof epsilon === "bigint", "layer_norm_epsilon is no number");
  epsilon = Number(epsilon);
  must(epsilon > 0 && epsilon <= 1, "layer_norm_epsilon is out of range");
  const window = or("local_attention_window", null);
  must(window === null || natural(window, 1n, 2n ** 22n), "local_attention_window is no size");
  must(D % heads === 0, `${heads} heads do not divide ${D}`);
  if (window !== null) throw new Refusal("unsupported", "attention with windows does not run here");
  const ends = new Set(eos.map(Number));
  return { V, D, F, layers, heads, context, tied, epsilon, bos: bos === null ? null : Number(bos), eos: ends };
}

// ── weights ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Name -> shape of every tensor. Weights stand right of activations: [in, out]. */
function tensorShapes({ V, D, F, context, layers, tied }) {
  const shapes = new Map([["token_embedding", [V, D]], ["position_embedding", [context, D]]]);
  const pair = (name, ...shape) => shapes.set(`${name}.weight`, shape).set(`${name}.bias`, shape.slice(-1));
  for (let i = 0; i < layers; i++) {
    for (const part of ["query", "key", "value", "output"]) pair(`layers.${i}.attention.${part}`, D, D);
    pair(`layers.${i}.attention_norm`, D);
    pair(`layers.${i}.feed_forward.up`, D, F);
    pair(`layers.${i}.feed_forward.down`, F, D);
    pair(`layers.${i}.feed_forward_norm`, D);
  }
  pair("final_norm", D);
  if (!tied) shapes.set("head.weight", [V, D]);
  return shapes;
}

const WIDTHS = { F64: 8, F32: 4, F16: 2, BF16: 2 };
const count = (shape) => shape.reduce((product, n) => product * n, 1);

/** The tensors of a safetensors file, which holds those of `shapes`, no more and no fewer. */
function readTensors(raw, digest, shapes) {
  must(digest === undefined || digest === createHash("sha256").update(raw).digest("hex"), "another sha256");
  must(raw.length >= 8, "too short for safetensors");
  const size = raw.readBigUInt64LE(0); // no sum with it may leave what doubles hold exactly
  must(size <= BigInt(raw.length - 8) && raw[8] === 0x7b, "no header of safetensors");
  const start = 8 + Number(size);
  const header = parse(raw.subarray(8, start));
  const notes = header.has("__metadata__") ? header.get("__metadata__") : new Map();
  const isNotes = notes instanceof Map && [...notes.values()].every((note) => typeof note === "string");
  must(isNotes, "__metadata__ is not of texts");
  header.delete("__metadata__");
  const weights = new Map(), spans = [];
  for (const [name, value] of header) {
    const entry = closed(value, name, ["dtype", "shape", "data_offsets"]);
    const [dtype, shape, offsets] = ["dtype", "shape", "data_offsets"].map((key) => entry.get(key));
    must(typeof dtype === "string" && Object.hasOwn(WIDTHS, dtype), `${name} has another dtype`);
    const due = shapes.get(name);
    must(due !== undefined && Array.isArray(shape) && shape.length === due.length, `${name} is not of the model`);
    must(shape.every((n, i) => n === BigInt(due[i])), `${name} has another shape`);
    const isSpan = Array.isArray(offsets) && offsets.length === 2;
    must(isSpan && offsets.every((at) => natural(at, 0n, BigInt(raw.length - start))), `${name} lies elsewhere`);
    const [from, to] = offsets.map(Number);
    must(to - from === count(due) * WIDTHS[dtype], `${name} does not span its bytes`);
    spans.push([from, to]);
    weights.set(name, { data: numbers(raw.subarray(start + from, start + to), dtype), shape: due });
    must(weights.get(name).data.every(Number.isFinite), `${name} holds NaN or infinity`);
  }
  must(weights.size === shapes.size, "a tensor is missing");
  spans.sort(([a], [b]) => a - b);
  const tiled = spans.every(([from], i) => from === (i ? spans[i - 1][1] : 0));
  must(tiled && spans.at(-1)[1] === raw.length - start, "tensors do not tile the data");
  return weights;
}

/** The numbers that little-endian bytes denote, each exactly. */
function numbers(bytes, dtype) {
  const copy = new Uint8Array(bytes).buffer; // aligned
  if (dtype === "F64") return new Float64Array(copy);
  if (dtype === "F32") return new Float32Array(copy);
  const halves = new Uint16Array(copy);
  if (dtype === "BF16") return new Float32Array(Uint32Array.from(halves, (half) => half << 16).buffer);
  return Float32Array.from(halves, (half) => {
    const sign = half >> 15 ? -1 : 1, exponent = (half >> 10) & 31, fraction = half & 1023;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (exponent ? (1024 + fraction) * 2 ** (exponent - 25) : fraction * 2 ** -24);
  });
}

/** Weights of a bundle that holds none, from its seed: FMT-2. */
function initialise(shapes, seed) {
  const total = [...shapes.values()].reduce((sum, shape) => sum + count(shape), 0);
  if (total > 2 ** 30) throw new Refusal("unsupported", "more weights than are made from a seed");
  return new Map([...shapes].map(([name, shape]) => [name, { data: initial(name, count(shape), seed), shape }]));
}

/** SplitMix64 in halves of 32 bits: four 16-bit numbers of each output, summed, rounded to eight bits, times 2^-21. */
function initial(name, length, seed) {
  const made = new Float32Array(length);
  if (/(norm\.weight|\.bias)$/.test(name)) return made.fill(name.endsWith("norm.weight") ? 1 : 0);
  const key = createHash("sha256").update(`llmasos-init/v1\0${seed}\0${name}`).digest();
  let high = key.readUInt32BE(0), low = key.readUInt32BE(4);
  let h, l; // the 64-bit number that is worked on
  const shifted = (n) => {
    l ^= (l >>> n) | (h << (32 - n));
    h ^= h >>> n;
  };
  const times = (b, a) => {
    // (h, l) times (b, a) modulo 2^64, by halves of the lower words
    const l0 = l & 0xffff, l1 = l >>> 16, a0 = a & 0xffff, a1 = a >>> 16;
    const p00 = l0 * a0, p01 = l0 * a1, p10 = l1 * a0;
    const middle = (p00 >>> 16) + (p01 & 0xffff) + (p10 & 0xffff);
    h = (Math.imul(h, a) + Math.imul(l, b) + l1 * a1 + (p01 >>> 16) + (p10 >>> 16) + (middle >>> 16)) | 0;
    l = Math.imul(l, a);
  };
  for (let i = 0; i < length; i++) {
    low += 0x7f4a7c15;
    high = (high + 0x9e3779b9 + (low > 0xffffffff)) >>> 0;
    low >>>= 0;
    [h, l] = [high | 0, low | 0];
    shifted(30);
    times(0xbf58476d, 0x1ce4e5b9);
    shifted(27);
    times(0x94d049bb, 0x133111eb);
    shifted(31);
    const sum = (l & 0xffff) + (l >>> 16) + (h & 0xffff) + (h >>> 16) - 131070;
    made[i] = toEightBits(sum) / 2 ** 21;
  }
  return made;
}

/** An integer to eight significant bits, half to even. */
function toEightBits(sum) {
  const size = Math.abs(sum);
  const spacing = size < 256 ? 1 : 2 ** (24 - Math.clz32(size)); // integers below 2^8 have eight bits at most
  const steps = size / spacing, floor = Math.floor(steps);
  const up = steps - floor > 0.5 || (steps - floor === 0.5 && floor % 2 === 1);
  return Math.sign(sum) * (floor + up) * spacing;
}
