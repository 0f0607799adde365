// Text to ids and back: bytes, or those kinds of tokenizer.json that need no tables of Unicode.
//
// Byte-level BPE (GPT-2), and Unigram whose spaces are marked by Metaspace (T5) or by a normalizer (Llama 2). Files of
// other kinds are refused with unsupported, so the capability `tokenize` is not declared. Whoever has a tokenizer of
// his own replaces this file.

import { Refusal } from "./llmasos.mjs";

/** The tokenizer of a bundle; null where ids have no text. */
export function openTokenizer({ config, tokenizer }) {
  if (tokenizer !== null) return new FileTokenizer(tokenizer, config.V);
  return config.V >= 256 ? new ByteTokenizer() : null;
}

/** The bytes of a text. Refuses half a character, which has none. */
function utf8(text) {
  if (typeof text !== "string" || !text.isWellFormed()) throw new Refusal("invalid_argument", "no text of Unicode");
  return Buffer.from(text);
}

/** Bytes as text; what is no UTF-8 becomes U+FFFD, one for each longest beginning of a character. */
function decoded(bytes) {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(bytes));
}

class ByteTokenizer {
  textIds = Array.from({ length: 256 }, (_, id) => id);

  encode(text) {
    return [...utf8(text)];
  }

  decode(ids) {
    return decoded(ids.filter((id) => id < 256));
  }
}

const MARK = "\u2581";
const printable = (byte) => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
const letterOf = Array.from({ length: 256 }, (_, byte) => byte);
letterOf.filter((byte) => !printable(byte)).forEach((byte, i) => (letterOf[byte] = 256 + i));
/** GPT-2's alphabet: a byte that prints stands for itself, the others for the characters from U+0100 on. */
const LETTERS = letterOf.map((code) => String.fromCharCode(code));
const BYTES = new Map(LETTERS.map((letter, byte) => [letter, byte]));
const SPACE = "\\p{White_Space}";
const WORDS = new RegExp(
  `'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^${SPACE}\\p{L}\\p{N}]+|${SPACE}+(?![^${SPACE}])|${SPACE}+`, "gu");

function must(condition, what) {
  if (!condition) throw new Refusal("invalid_format", `tokenizer.json: ${what}`);
}

/** Refuse what a file may ask for and does not run here. */
function runs(condition, what) {
  if (!condition) throw new Refusal("unsupported", `tokenizer.json: ${what} does not run here`);
}

/** A value of `parse` as JSON has it, so that parts can be compared by their text; keys in order. */
function plain(value) {
  if (value instanceof Map) return Object.fromEntries([...value].sort().map(([key, item]) => [key, plain(item)]));
  if (Array.isArray(value)) return value.map(plain);
  return typeof value === "bigint" ? Number(value) : value;
}
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

class FileTokenizer {
  constructor(parsed, V) {
    must(parsed instanceof Map && parsed.get("model") instanceof Map, "no model");
    const document = plain(parsed), { model } = document;
    this.names = new Map(); // id -> name
    this.special = new Set();
    this.cut = new Map(); // added tokens that are text, by their literals
    const kind = model.type === "BPE" ? this.#bpe(model, document) : this.#unigram(model, document);
    this.split = kind.split;
    this.ids = kind.ids;
    this.bytes = kind.bytes;
    this.strip = kind.strip;
    const added = document.added_tokens ?? [];
    must(Array.isArray(added), "added_tokens are no list");
    for (const { id, content, special, lstrip, rstrip, single_word, normalized } of added) {
      must(Number.isInteger(id) && id >= 0 && typeof content === "string" && content, "an added token is none");
      must((this.names.get(id) ?? content) === content, `id ${id} has two tokens`);
      must((kind.known.get(content) ?? id) === id && !this.cut.has(content), `${content} has two ids`);
      runs(special || !(lstrip || rstrip || single_word || normalized), "an added token that takes more than itself");
      this.names.set(id, content);
      if (special) this.special.add(id);
      else this.cut.set(content, id);
      if (special) kind.known.delete(content); // its literal is text
    }
    must([...this.names.keys()].every((id) => id < V), "an id that the model lacks");
    this.textIds = [...this.names.keys()].filter((id) => !this.special.has(id));
  }

  encode(text) {
    utf8(text);
    const ids = [];
    let from = 0;
    for (let at = 0; at < text.length; ) {
      // Of added tokens that begin here, the longest.
      const found = [...this.cut.keys()].filter((name) => text.startsWith(name, at));
      const name = found.reduce((a, b) => (b.length > a.length ? b : a), "");
      if (name) {
        ids.push(...this.#plain(text.slice(from, at), from === 0), this.cut.get(name));
        from = at + name.length;
      }
      at += name.length || 1;
    }
    return [...ids, ...this.#plain(text.slice(from), from === 0)];
  }

  #plain(text, first) {
    return text === "" ? [] : this.split(text, first).flatMap((word) => this.ids(word));
  }

  decode(ids) {
    const shown = ids.filter((id) => this.names.has(id) && !this.special.has(id));
    const bytes = shown.flatMap((id, i) => {
      const name = this.names.get(id);
      return this.cut.has(name) ? [...Buffer.from(name)] : this.bytes(name, i === 0);
    });
    const text = decoded(bytes);
    return this.strip && text.startsWith(" ") ? text.slice(1) : text;
  }

  /** Byte-level BPE. */
  #bpe(model, { normalizer = null, pre_tokenizer: cutter, decoder }) {
    const known = this.#vocabulary(model.vocab);
    must(Array.isArray(model.merges), "merges are no list");
    must(!model.dropout, "dropout makes ids a matter of chance");
    runs(normalizer === null && cutter?.type === "ByteLevel" && !cutter.add_prefix_space, "this way to cut text");
    runs(decoder?.type === "ByteLevel", "this decoder");
    runs(!model.continuing_subword_prefix && !model.end_of_word_suffix && !model.ignore_merges, "this kind of BPE");
    must(LETTERS.every((letter) => known.has(letter)), "a byte has no token");
    const ranks = new Map();
    for (const [rank, merge] of model.merges.entries()) {
      const pair = typeof merge === "string" ? merge.split(" ") : merge;
      must(Array.isArray(pair) && pair.length === 2, "a merge is no pair");
      must([...pair, pair.join("")].every((name) => known.has(name)), "a merge of what the vocabulary lacks");
      if (!ranks.has(pair.join(" "))) ranks.set(pair.join(" "), rank);
    }
    const ids = (word) => {
      const parts = [...utf8(word)].map((byte) => LETTERS[byte]);
      for (;;) {
        // The pair that stands first in the list; of equals the leftmost.
        let best = Infinity, place = -1;
        for (let i = 0; i + 1 < parts.length; i++) {
          const rank = ranks.get(`${parts[i]} ${parts[i + 1]}`) ?? Infinity;
          if (rank < best) [best, place] = [rank, i];
        }
        if (place < 0) return parts.map((part) => known.get(part));
        parts.splice(place, 2, parts[place] + parts[place + 1]);
      }
    };
    const bytes = (name) => {
      const spelled = [...name].map((letter) => BYTES.get(letter));
      return spelled.includes(undefined) ? [...Buffer.from(name)] : spelled;
    };
    const split = cutter.use_regex === false ? (text) => [text] : (text) => text.match(WORDS);
    return { known, ids, bytes, split, strip: false };
  }

  /** Unigram: the pieces with the largest sum of scores; of equal sums, that with the longest last piece. */
  #unigram(model, { normalizer = null, pre_tokenizer: cutter = null, decoder = null }) {
    runs(model.type === "Unigram" && Array.isArray(model.vocab), `a model of type ${model.type}`);
    const known = this.#vocabulary(model.vocab.map(([name], id) => [name, id]));
    must(Number.isInteger(model.unk_id) && this.names.has(model.unk_id), "some texts have no ids");
    const score = new Map(model.vocab);
    const unknown = Math.min(...model.vocab.map(([, points]) => points)) - 10;
    const longest = Math.max(...model.vocab.map(([name]) => name.length));
    const marks = cutter?.type === "Metaspace" && cutter.replacement === MARK && cutter.split !== false;
    const prepend = { prepend: MARK, type: "Prepend" };
    const replace = { content: MARK, pattern: { String: " " }, type: "Replace" };
    const normalizes = same(normalizer, { normalizers: [prepend, replace], type: "Sequence" });
    const usual = marks ? normalizer === null && decoder?.type === "Metaspace" : normalizes && cutter === null;
    runs(usual, "this way to cut text");
    const chain = (decoder?.decoders ?? []).map((part) => part.type).join();
    runs(marks || chain === "Replace,ByteFallback,Fuse,Strip", "this decoder");
    const scheme = marks ? cutter.prepend_scheme : "always";
    const drops = marks && decoder.prepend_scheme !== "never";
    const idOfByte = (byte) => known.get(byteName(byte));
    const split = (text, first) => {
      let marked = text.replaceAll(" ", MARK);
      const wanted = scheme === "always" || (scheme === "first" && first);
      if (wanted && !(marks && marked.startsWith(MARK))) marked = MARK + marked;
      return marks ? marked.match(new RegExp(`${MARK}[^${MARK}]*|[^${MARK}]+`, "gu")) : [marked];
    };
    const ids = (word) => {
      const letters = [...word];
      const best = [{ sum: 0 }];
      for (let from = 0; from < letters.length; from++) {
        const offer = (to, id, points) => {
          const sum = best[from].sum + points;
          if (best[to] === undefined || sum > best[to].sum) best[to] = { sum, from, id };
        };
        for (let to = from + 1, name = ""; to <= letters.length && name.length < longest; to++) {
          name += letters[to - 1];
          if (known.has(name)) offer(to, known.get(name), score.get(name));
          else if (to === from + 1) offer(to, null, unknown);
        }
      }
      const made = [];
      for (let at = letters.length; at > 0; at = best[at].from) {
        const { id, from } = best[at];
        if (id !== null) made.unshift(id);
        else if (model.byte_fallback) made.unshift(...[...Buffer.from(letters[from])].map(idOfByte));
        else if (best[from].id !== null) made.unshift(model.unk_id); // neighbours of no piece are one token
      }
      return made;
    };
    const bytes = (name, first) => {
      const byte = marks ? null : /^<0x([0-9A-F]{2})>$/.exec(name);
      if (byte) return [parseInt(byte[1], 16)];
      return [...Buffer.from(name.replaceAll(MARK, first && drops ? "" : " "))];
    };
    if (model.byte_fallback) {
      must([...Array(256).keys()].every((byte) => known.has(byteName(byte))), "a byte has no token");
    }
    return { known, ids, bytes, split, strip: !marks };
  }

  /** Name -> id, each once. */
  #vocabulary(listed) {
    const pairs = Array.isArray(listed) ? listed : Object.entries(listed ?? {});
    const known = new Map(pairs);
    must(known.size === pairs.length && known.size > 0, "a token is listed twice, or none is");
    for (const [name, id] of known) {
      must(Number.isInteger(id) && id >= 0 && !this.names.has(id), `${name} has no id of its own`);
      this.names.set(id, name);
    }
    return known;
  }
}

function byteName(byte) {
  return `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;
}
