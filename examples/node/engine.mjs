// A small honest engine: a GPT-3 in float64, one row at a time, with a cache of keys and values.
//
// It stands here in the place of yours. What the adapter asks of it: `logits(ids)`, and `generate` behind a prompt. What
// a question may hold was judged by requests.mjs. `weights` has the tensors by name, `{ data, shape }`, row behind row:
// data is a Float64Array where the file has F64, else a Float32Array. Logits may be either; the array says what is sent.

import { Refusal } from "./llmasos.mjs";

export class Engine {
  constructor({ config, weights }) {
    this.config = config;
    this.weights = weights;
  }

  /** Logits [T · V] of a row of ids. */
  logits(ids) {
    return this.extend(this.begin(), ids);
  }

  /**
   * At most `limit` new ids behind a prompt; an end-of-sequence id is the last. With seed null any chance will do.
   * `allowed` are the ids that may be chosen; null is all of them.
   */
  generate(prompt, { limit, temperature, seed }, allowed) {
    const { eos, V } = this.config;
    const drawn = seed ?? crypto.getRandomValues(new BigUint64Array(1))[0];
    const cache = this.begin(), ids = [];
    while (ids.length < limit && !eos.has(ids.at(-1))) {
      const last = this.extend(cache, ids.length ? ids.slice(-1) : prompt).subarray(-V);
      ids.push(choose(last, temperature, allowed, noise(BigInt(drawn), BigInt(ids.length))));
    }
    return ids;
  }

  begin() {
    return { length: 0, layers: Array.from({ length: this.config.layers }, () => ({ keys: [], values: [] })) };
  }

  /** Logits [T · V] of ids behind those of a cache, which then holds them too. */
  extend(cache, ids) {
    const { D, V, layers, tied } = this.config;
    const tokens = this.weights.get("token_embedding").data, places = this.weights.get("position_embedding").data;
    let x = ids.map((id, t) => {
      const token = tokens.subarray(id * D, id * D + D), place = (cache.length + t) * D;
      return Float64Array.from(token, (value, d) => value + places[place + d]);
    });
    for (let i = 0; i < layers; i++) {
      x = sum(x, this.attention(this.norm(x, `layers.${i}.attention_norm`), i, cache.layers[i]));
      x = sum(x, this.feedForward(this.norm(x, `layers.${i}.feed_forward_norm`), i));
    }
    cache.length += ids.length;
    const head = tied ? tokens : this.weights.get("head.weight").data; // [V, D]
    const made = new Float64Array(ids.length * V);
    this.norm(x, "final_norm").forEach((row, t) => {
      for (let v = 0; v < V; v++) made[t * V + v] = dot(row, 0, head, v * D, D);
    });
    return made;
  }

  /** (x - mean) / √(variance + ε) · weight + bias, of each row on its own. */
  norm(x, name) {
    const { D, epsilon } = this.config;
    const weight = this.weights.get(`${name}.weight`).data, bias = this.weights.get(`${name}.bias`).data;
    return x.map((row) => {
      const mean = row.reduce((a, b) => a + b) / D;
      const variance = row.reduce((a, b) => a + (b - mean) ** 2, 0) / D;
      const scale = 1 / Math.sqrt(variance + epsilon);
      return row.map((value, d) => (value - mean) * scale * weight[d] + bias[d]);
    });
  }

  /** x · weight + bias; the weight is [in, out]. */
  linear(x, name) {
    const weight = this.weights.get(`${name}.weight`).data, bias = this.weights.get(`${name}.bias`).data;
    return x.map((row) => {
      const made = Float64Array.from(bias);
      for (let i = 0, at = 0; i < row.length; i++) {
        for (let o = 0; o < made.length; o++, at++) made[o] += row[i] * weight[at];
      }
      return made;
    });
  }

  attention(x, i, { keys, values }) {
    const { D, heads } = this.config, K = D / heads, name = `layers.${i}.attention`;
    const before = keys.length;
    const queries = this.linear(x, `${name}.query`);
    keys.push(...this.linear(x, `${name}.key`));
    values.push(...this.linear(x, `${name}.value`));
    const joined = queries.map((query, t) => {
      const seen = before + t + 1, made = new Float64Array(D);
      for (let from = 0; from < D; from += K) {
        const scores = Float64Array.from({ length: seen }, (_, s) => dot(query, from, keys[s], from, K) / Math.sqrt(K));
        const most = scores.reduce((a, b) => Math.max(a, b));
        const weights = scores.map((score) => Math.exp(score - most));
        const total = weights.reduce((a, b) => a + b);
        for (let s = 0; s < seen; s++) {
          for (let k = from; k < from + K; k++) made[k] += (weights[s] / total) * values[s][k];
        }
      }
      return made;
    });
    return this.linear(joined, `${name}.output`);
  }

  feedForward(x, i) {
    const hidden = this.linear(x, `layers.${i}.feed_forward.up`).map((row) => row.map(gelu));
    return this.linear(hidden, `layers.${i}.feed_forward.down`);
  }
}

const sum = (x, y) => x.map((row, t) => row.map((value, d) => value + y[t][d]));

function dot(a, from, b, at, length) {
  let total = 0;
  for (let i = 0; i < length; i++) total += a[from + i] * b[at + i];
  return total;
}

function gelu(x) {
  return (x / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
}

// ── choosing ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** The id of the largest logit / temperature + noise, with temperature 0 of the largest logit; of equals the lowest. */
function choose(logits, temperature, allowed, noiseOf) {
  const candidates = allowed ?? logits.keys();
  const most = temperature && logits.reduce((a, b) => Math.max(a, b));
  let best = -Infinity, chosen;
  for (const id of candidates) {
    const score = temperature ? (logits[id] - most) / temperature + noiseOf(id) : logits[id];
    if (score > best) [best, chosen] = [score, id];
  }
  if (chosen === undefined) throw new Refusal("unsupported", "no id may be chosen");
  return chosen;
}

const word = (x) => BigInt.asUintN(64, x);

/** Output n of SplitMix64 from state k. */
function splitMix(k, n) {
  let z = word(k + (n + 1n) * 0x9e3779b97f4a7c15n);
  z = word((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
  z = word((z ^ (z >> 27n)) * 0x94d049bb133111ebn);
  return z ^ (z >> 31n);
}

/** The standard's noise at a step, by id: what makes a seeded text the same everywhere (docs/gumbel.md). */
function noise(seed, step) {
  const state = splitMix(splitMix(seed, 0n), step);
  return (id) => -Math.log(-Math.log((Number(splitMix(state, BigInt(id)) >> 12n) + 0.5) / 2 ** 52));
}
