// What the questions of the protocol may hold, judged before an engine is asked: options, ids, what may continue a text.

import { Refusal } from "./llmasos.mjs";

/** Options of a generation with their defaults. Whoever knows more adds them here. */
export function options({ max_length = 100, temperature = 1, seed = null, ...others }) {
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) throw new Refusal("unknown_parameter", `no option ${unknown}`);
  const whole = (value) => Number.isInteger(value) && value >= 0;
  if (!whole(max_length)) throw new Refusal("invalid_argument", `max_length is ${JSON.stringify(max_length)}`);
  if (seed !== null && !(whole(seed) && seed < 2 ** 53)) {
    throw new Refusal("invalid_argument", `seed is ${JSON.stringify(seed)}`);
  }
  if (typeof temperature !== "number" || !(temperature >= 0 && temperature < Infinity)) {
    throw new Refusal("invalid_argument", `temperature is ${JSON.stringify(temperature)}`);
  }
  return { max_length, temperature, seed };
}

/** A row of ids that the model takes. */
export function checked(ids, { V, context }) {
  const wrong = ids.find((id) => !Number.isInteger(id) || id < 0 || id >= V);
  if (wrong !== undefined || ids.length === 0) throw new Refusal("invalid_argument", `no ids: ${wrong ?? "none"}`);
  if (ids.length > context) throw new Refusal("context_overflow", `${ids.length} ids, the context is ${context}`);
  return ids;
}

/** A prompt that the model takes: an empty one is the beginning-of-sequence id, where there is one. */
export function begun(prompt, config) {
  return checked(prompt.length === 0 && config.bos !== null ? [config.bos] : prompt, config);
}

/** Ids that may continue a text: those with text, and those that end it. */
export function speaking({ bos, eos }, text) {
  return [...text.textIds.filter((id) => id !== bos && !eos.has(id)), ...eos].sort((a, b) => a - b);
}
