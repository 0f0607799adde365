// onnxruntime-node computes a float64 graph with a scale that has float32's digits, and does not load one with SiLU.
//
// Seen with onnxruntime-node and onnxruntime-web 1.30.0, Node 20.20.2; onnxruntime for Python has both in 1.30.0, the
// first alone in 1.31.1, and neither in 1.32.0. In all, what is claimed as float64 fails wherever the width of a head is
// not a power of four, and Llama does not load at all.
// Cause: optimisations beyond the basic ones put a product of matrices and a constant factor beside it into one node,
// com.microsoft.FusedMatMul, whose attribute alpha is a float32 (microsoft/onnxruntime#28145 let it take doubles), and
// x · sigmoid(x) into com.microsoft.QuickGelu, which has no kernel for doubles (microsoft/onnxruntime#32421).
// Second witnesses: the same runtime without these optimisations, and the formula in JavaScript, whose numbers are
// doubles. onnxruntime-node is wrong; `graphOptimizationLevel: "basic"` is right.
//
// node onnxruntime-node-float64.mjs node_modules      needs onnxruntime-node there

import { createRequire } from "node:module";
import { resolve } from "node:path";

const { InferenceSession, Tensor } = createRequire(resolve(process.argv[2] ?? "node_modules", "x.js"))("onnxruntime-node");

// Protocol Buffers, as much as a graph needs: numbers, texts and bytes, messages.
const varint = (n) => (n < 128 ? [n] : [(n % 128) | 128, ...varint(Math.floor(n / 128))]);
const number = (field, n) => [...varint(field * 8), ...varint(n)];
const bytes = (field, value) => {
  const raw = typeof value === "string" ? [...Buffer.from(value)] : [...value];
  return [...varint(field * 8 + 2), ...varint(raw.length), ...raw];
};
const DOUBLE = 11;
const node = (type, inputs, output) =>
  bytes(1, [...inputs.flatMap((name) => bytes(1, name)), ...bytes(2, output), ...bytes(4, type)]);
const constant = (name, value) =>
  bytes(5, [...number(2, DOUBLE), ...bytes(8, name), ...bytes(9, new Uint8Array(Float64Array.of(value).buffer))]);
const value = (field, name, shape) => {
  const sizes = bytes(2, shape.flatMap((size) => bytes(1, number(1, size))));
  return bytes(field, [...bytes(1, name), ...bytes(2, bytes(1, [...number(1, DOUBLE), ...sizes]))]);
};
const model = (...parts) => Uint8Array.from([
  ...number(1, 8), ...bytes(8, number(2, 17)), ...bytes(7, [...parts.flat(), ...bytes(2, "graph")])]);

async function run(file, feed, level) {
  try {
    const session = await InferenceSession.create(file, { graphOptimizationLevel: level, logSeverityLevel: 4 });
    return String((await session.run(feed)).y.data[0]);
  } catch (error) {
    return `refused: ${error.message.slice(0, 72)}…`;
  }
}

const x = new Tensor("float64", Float64Array.of(1, 2, 3, 4, 5, 6), [1, 6]);
const column = new Tensor("float64", Float64Array.of(1, 1, 1, 1, 1, 1), [6, 1]);
const one = new Tensor("float64", Float64Array.of(1.5), [1]);
const scaled = model(node("MatMul", ["a", "b"], "p"), node("Mul", ["p", "c"], "y"), constant("c", 1 / Math.sqrt(6)),
  value(11, "a", [1, 6]), value(11, "b", [6, 1]), value(12, "y", [1, 1]));
const silu = model(node("Sigmoid", ["a"], "s"), node("Mul", ["a", "s"], "y"), value(11, "a", [1]), value(12, "y", [1]));
for (const [name, file, feed, due] of [
  ["21 / √6", scaled, { a: x, b: column }, 21 * (1 / Math.sqrt(6))],
  ["1.5 · sigmoid(1.5)", silu, { a: one }, 1.5 / (1 + Math.exp(-1.5))],
]) {
  console.log(`${name}: in JavaScript ${due}`);
  for (const level of ["basic", "all"]) console.log(`  optimisations ${level}: ${await run(file, feed, level)}`);
}
