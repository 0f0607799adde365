// The server side of the LLMasOS wire, version 0.1-draft, over standard input and output. Keep this file as it is.
//
//     serve({ describe() { … }, load_model({ path }) { return { model: … } } })
//
// `load_model` returns an object of yours whose methods bear the names of the protocol: each takes the params of its
// question, without the handle, and returns the result, or a promise of it, as docs/protocol.md has it. Objects that
// stand under `model` or `session` in a result are kept here, and travel as handles. A tensor is what `tensor` makes.
// `throw new Refusal(code, message)` says no; whatever else is thrown is reported as an exception.
//
// Standard output belongs to the protocol: console.log and what else writes to process.stdout goes to standard error.
// What native code prints to descriptor 1 cannot be caught here.

import { once } from "node:events";

export const PROTOCOL = "0.1-draft";
const REFUSED = -32000, INVALID_REQUEST = -32600, NO_METHOD = -32601, INVALID_PARAMS = -32602;

/** A "no" with one of the protocol's codes: invalid_argument, unknown_parameter, context_overflow, not_found, … */
export class Refusal extends Error {
  constructor(code, message = code) {
    super(message);
    this.code = code;
  }
}

const DTYPES = new Map([[Float64Array, "F64"], [Float32Array, "F32"]]);

/** A tensor [...shape]; a Uint16Array needs the dtype, "F16" or "BF16". The memory is the wire's until it is sent. */
export function tensor(data, shape, dtype = DTYPES.get(data.constructor)) {
  return { dtype, shape, data };
}

// Per method what its params must have; "…" takes options of any name beside, "?" marks what may be left out.
const METHODS = {
  describe: "", load_model: "path", unload_model: "model", tokenize: "model text …", detokenize: "model ids",
  forward: "model ids[] sources?[] types?[]", score: "model ids source?", generate_text: "model prompt …",
  generate_ids: "model ids …", generate_batch: "model ids[] …", stream_text: "model prompt …",
  open: "model ids source?", extend: "session ids", fork: "session", close: "session", encode: "model ids[] types?[]",
  fill_mask: "model ids …", hidden_states: "model ids source? types?", attention: "model ids source? types?",
  cross_attention: "model ids source", gradients: "model ids[] labels?[] sources?[] types?[]",
  train_step: "model ids[] learning_rate labels?[] sources?[] types?[]", export: "model …",
  perplexity: "model ids …", bleu: "hypotheses references …", rouge: "hypotheses references …",
};
const TEXTS = new Set(["path", "model", "session", "text", "prompt"]);
const UNJUDGED = new Set(["learning_rate", "hypotheses", "references"]); // whatever they are, they are yours to judge

/** What is wrong with the structure of a question; undefined if nothing is. */
function fault(method, params) {
  if (params === null || typeof params !== "object" || Array.isArray(params)) return "params are no object";
  const isIds = (value) => Array.isArray(value) && value.every(Number.isInteger);
  const roles = METHODS[method].split(" ").filter(Boolean);
  const known = new Set();
  for (const role of roles) {
    const name = role.replace(/[?[\]]/g, "");
    const value = params[name];
    known.add(name);
    if (role === "…" || (value === undefined && role.includes("?"))) continue;
    if (value === undefined) return `params lacks ${name}`;
    if (UNJUDGED.has(name)) continue;
    const right = TEXTS.has(name) ? typeof value === "string"
      : role.endsWith("[]") ? Array.isArray(value) && value.every(isIds) : isIds(value);
    if (!right) return `${name} is of another type`;
  }
  const more = Object.keys(params).find((name) => !known.has(name));
  return more === undefined || known.has("…") ? undefined : `params has an unknown member ${said(more)}`;
}

/** Answer lines until the input ends, then end the process. */
export async function serve(adapter) {
  const write = claimOutput();
  const desk = new Desk(adapter);
  for await (const line of lines(process.stdin)) {
    for (const part of await desk.answer(line)) {
      if (!write(part)) await once(process.stdout, "drain"); // who asked reads slowly: wait, rather than pile up
    }
  }
  await new Promise((sent) => write("", sent)); // what has not left yet would end with the process
  process.exit(0); // without waiting for timers and threads of whoever computes
}

/** The only way to standard output from now on. */
function claimOutput() {
  const write = process.stdout.write.bind(process.stdout);
  process.stdout.on("error", () => process.exit(130)); // nobody listens any more
  process.stdout.write = process.stderr.write.bind(process.stderr);
  console.log = console.info = console.debug = console.error;
  return write;
}

/** Lines of a stream, without their ends; what stands behind the last end is none. */
async function* lines(stream) {
  let held = [];
  for await (const chunk of stream) {
    let from = 0;
    for (let to; (to = chunk.indexOf(10, from)) >= 0; from = to + 1) {
      yield Buffer.concat([...held, chunk.subarray(from, to)]);
      held = [];
    }
    held.push(chunk.subarray(from));
  }
}

/** Answers for one adapter. */
export class Desk {
  constructor(adapter) {
    this.adapter = adapter;
    this.kept = { model: new Map(), session: new Map() };
    this.made = 0;
  }

  /** What a line is answered with: a line, and the frames behind it. */
  async answer(line) {
    let asked;
    try {
      asked = JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(line));
    } catch (error) {
      return [message(null, { error: { code: INVALID_REQUEST, message: `no JSON: ${error.message}` } })];
    }
    if (typeof asked?.method !== "string" || !Number.isInteger(asked.id)) {
      return [message(null, { error: { code: INVALID_REQUEST, message: "no question: id or method is missing" } })];
    }
    const { id, method, params = {} } = asked;
    if (!Object.hasOwn(METHODS, method)) {
      return [message(id, { error: { code: NO_METHOD, message: `no method ${said(method)}` } })];
    }
    const wrong = fault(method, params);
    if (wrong) return [message(id, { error: { code: INVALID_PARAMS, message: `${method}: ${wrong}` } })];
    try {
      const result = this.keep(await this.call(method, params));
      const frames = asked.frames === true ? [] : null;
      const sent = withTensors(result, frames);
      const lengths = frames?.length ? { frames: frames.map((frame) => frame.length) } : {};
      return [message(id, { result: sent, ...lengths }), ...(frames ?? [])];
    } catch (error) {
      return [message(id, { error: { code: REFUSED, message: said(error?.message ?? error), data: reason(error) } })];
    }
  }

  async call(method, { model, session, ...params }) {
    if (method === "describe") return { protocol: PROTOCOL, frames: true, ...(await this.adapter.describe()) };
    const kind = session !== undefined ? "session" : "model", handle = session ?? model;
    const owner = handle === undefined ? this.adapter : this.kept[kind].get(handle);
    if (owner === undefined) throw new Refusal("invalid_argument", `no ${kind} ${handle}`);
    if (method === "unload_model" || method === "close") this.kept[kind].delete(handle);
    if (typeof owner[method] !== "function") {
      if (method === "unload_model" || method === "close") return {};
      throw new Refusal("unsupported", `${method} is not offered`);
    }
    return (await owner[method](params)) ?? {};
  }

  /** A result whose models and sessions are handles. */
  keep(result) {
    const sent = { ...result };
    for (const kind of ["model", "session"]) {
      if (typeof sent[kind] !== "object") continue;
      const handle = `${kind[0]}${++this.made}`;
      this.kept[kind].set(handle, sent[kind]);
      sent[kind] = handle;
    }
    return sent;
  }
}

function reason(error) {
  if (error instanceof Refusal) return { refusal: error.code };
  return { raised: said(error?.name ?? typeof error), detail: said(error?.stack ?? error).slice(0, 16384) };
}

/** A text that a strict reader takes: no half of a character. */
function said(value) {
  return String(value).toWellFormed();
}

function message(id, members) {
  return Buffer.from(JSON.stringify({ jsonrpc: "2.0", id, ...members }) + "\n");
}

/** A value whose tensors are in base64, or in the frames, if there are any. JSON writes null for what is not finite. */
function withTensors(value, frames) {
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) {
    return typeof value[0] === "number" ? value : value.map((item) => withTensors(item, frames));
  }
  if (ArrayBuffer.isView(value.data)) {
    const { dtype, shape, data } = value;
    const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength); // little-endian wherever Node runs
    if (frames) return { dtype, shape, frame: frames.push(bytes) - 1 };
    return { dtype, shape, data: bytes.toString("base64") };
  }
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, withTensors(item, frames)]));
}
