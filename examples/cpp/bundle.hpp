// The model format, read and judged: model.json, model.safetensors and tokenizer.json of a GPT-3, in float32.
//
// Whoever has a loader of his own replaces this file, and deletes its line of `emulated` in the description.

#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "llmasos.hpp"

namespace bundle {

using llmasos::Json;
using llmasos::List;
using llmasos::Members;
using llmasos::Refusal;
using Floats = std::vector<float>;
using Shapes = std::map<std::string, std::vector<std::int64_t>>;

struct Config {
    std::int64_t V, D, F, layers, heads, context;
    bool tied;
    double epsilon;
    std::optional<std::int64_t> bos;
    std::set<std::int64_t> eos;
};

struct Bundle {
    Config config;
    std::map<std::string, Floats> weights;
    std::optional<Json> tokenizer;  // the parsed file, if there is one
};

inline void must(bool condition, const std::string& what) {
    if (!condition) throw Refusal("invalid_format", what);
}

// ── SHA-256 (FIPS 180-4) ────────────────────────────────────────────────────────────────────────────────────────────

inline std::string sha256(std::string_view text) {
    static constexpr std::array<std::uint32_t, 64> k = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
    std::array<std::uint32_t, 8> h = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    std::string padded(text);
    padded += '\x80';
    padded.append((119 - text.size() % 64) % 64, '\0');
    for (int shift = 56; shift >= 0; shift -= 8) padded += static_cast<char>(std::uint64_t{text.size()} * 8 >> shift);
    const auto rotated = [](std::uint32_t x, int n) { return x >> n | x << (32 - n); };
    for (std::size_t at = 0; at < padded.size(); at += 64) {
        std::array<std::uint32_t, 64> w{};
        for (std::size_t i = 0; i < 64; ++i) w[i / 4] = w[i / 4] << 8 | static_cast<unsigned char>(padded[at + i]);
        for (std::size_t i = 16; i < 64; ++i) {
            const std::uint32_t a = w[i - 15], b = w[i - 2];
            w[i] = w[i - 16] + (rotated(a, 7) ^ rotated(a, 18) ^ a >> 3) + w[i - 7] +
                   (rotated(b, 17) ^ rotated(b, 19) ^ b >> 10);
        }
        auto s = h;
        for (std::size_t i = 0; i < 64; ++i) {
            const std::uint32_t one = s[7] + (rotated(s[4], 6) ^ rotated(s[4], 11) ^ rotated(s[4], 25)) +
                                      ((s[4] & s[5]) ^ (~s[4] & s[6])) + k[i] + w[i];
            const std::uint32_t two = (rotated(s[0], 2) ^ rotated(s[0], 13) ^ rotated(s[0], 22)) +
                                      ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
            s = {one + two, s[0], s[1], s[2], s[3] + one, s[4], s[5], s[6]};
        }
        for (std::size_t i = 0; i < 8; ++i) h[i] += s[i];
    }
    std::string digest;
    for (const std::uint32_t word : h)
        for (int shift = 24; shift >= 0; shift -= 8) digest += static_cast<char>(word >> shift);
    return digest;
}

inline std::string hexadecimal(std::string_view bytes) {
    std::string made;
    for (const char byte : bytes) (made += "0123456789abcdef"[(byte >> 4) & 15]) += "0123456789abcdef"[byte & 15];
    return made;
}

// ── JSON ────────────────────────────────────────────────────────────────────────────────────────────────────────────

// A file of strict JSON, perhaps behind a byte-order mark.
inline Json parse(std::string_view raw) {
    if (raw.substr(0, 3) == "\xEF\xBB\xBF") raw.remove_prefix(3);
    try {
        return llmasos::parse(raw);
    } catch (const llmasos::NoJson& error) {
        throw Refusal("invalid_format", error.what());
    }
}

// Whether a value is an integer of low … high; true and 1.0 are none.
inline bool natural(const Json& value, std::int64_t low, std::int64_t high) {
    const auto* whole = value.as<std::int64_t>();
    return whole && low <= *whole && *whole <= high;
}

// An object with all of the required members and none beside the optional ones.
inline const Members& closed(const Json& value, const std::set<std::string>& required,
                             const std::set<std::string>& optional = {}) {
    const auto* members = value.as<Members>();
    must(members != nullptr, "no object where one was due");
    for (const auto& [name, member] : *members)
        must(required.count(name) || optional.count(name), "an unknown key " + name);
    for (const std::string& name : required) must(members->count(name) > 0, "no " + name);
    return *members;
}

// ── model.json ──────────────────────────────────────────────────────────────────────────────────────────────────────

inline Config read_parameters(const Json& given) {
    closed(given, {"vocab_size", "embedding_dim", "num_layers"},
           {"num_heads", "feed_forward_dim", "context_length", "activation", "tie_embeddings", "bos_token_id",
            "eos_token_ids", "layer_norm_epsilon", "local_attention_window"});
    const auto value_or = [&](const std::string& name, Json otherwise) {
        const Json* found = given.find(name);
        return found ? *found : otherwise;
    };
    const auto size = [&](const std::string& name, int bits, std::int64_t otherwise) {
        const Json value = value_or(name, otherwise);
        must(natural(value, 1, std::int64_t{1} << bits), name + " is out of range");
        return *value.as<std::int64_t>();
    };
    Config c{};
    c.V = size("vocab_size", 24, 0);
    c.D = size("embedding_dim", 16, 0);
    c.layers = size("num_layers", 12, 0);
    c.heads = size("num_heads", 16, c.D % 64 ? 1 : c.D / 64);
    c.F = size("feed_forward_dim", 20, 4 * c.D);
    c.context = size("context_length", 22, 1024);
    const Json activation = value_or("activation", "gelu_tanh"), tied = value_or("tie_embeddings", true);
    must(activation.as<std::string>() && *activation.as<std::string>() == "gelu_tanh", "activation is not gelu_tanh");
    must(tied.as<bool>() != nullptr, "tie_embeddings is neither true nor false");
    c.tied = *tied.as<bool>();
    const Json bos = value_or("bos_token_id", nullptr), eos = value_or("eos_token_ids", List());
    must(bos.null() || natural(bos, 0, c.V - 1), "bos_token_id is no id");
    if (!bos.null()) c.bos = *bos.as<std::int64_t>();
    must(eos.as<List>() != nullptr, "eos_token_ids is no list");
    for (const Json& id : *eos.as<List>()) {
        must(natural(id, 0, c.V - 1) && c.eos.insert(*id.as<std::int64_t>()).second,
             "an end-of-sequence id is none, or twice");
    }
    const Json epsilon = value_or("layer_norm_epsilon", 1e-5), window = value_or("local_attention_window", nullptr);
    must(epsilon.as<double>() || epsilon.as<std::int64_t>(), "layer_norm_epsilon is no number");
    c.epsilon = epsilon.as<double>() ? *epsilon.as<double>() : static_cast<double>(*epsilon.as<std::int64_t>());
    must(c.epsilon > 0 && c.epsilon <= 1, "layer_norm_epsilon is out of range");
    must(window.null() || natural(window, 1, std::int64_t{1} << 22), "local_attention_window is no size");
    must(c.D % c.heads == 0, "num_heads does not divide embedding_dim");
    if (!window.null()) throw Refusal("unsupported", "attention with windows does not run here");
    return c;
}

// The parts of a text between dots.
inline std::vector<std::string> words(const std::string& text) {
    std::vector<std::string> made(1);
    for (const char sign : text) {
        if (sign == '.') made.emplace_back();
        else made.back() += sign;
    }
    return made;
}

// The major version of MAJOR.MINOR, or of a semantic version: MAJOR.MINOR.PATCH-PRE.RELEASE+BUILD.
inline std::string major_version(const std::string& text) {
    const std::string digits = "0123456789";
    const std::string signs = digits + "-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    const std::size_t plus = std::min(text.find('+'), text.size()), dash = std::min(text.find('-'), plus);
    const auto only = [](const std::string& word, const std::string& of) {
        return !word.empty() && word.find_first_not_of(of) == std::string::npos;
    };
    const auto plain = [&](const std::string& word) {
        return word.size() == 1 || word[0] != '0' || !only(word, digits);
    };
    const std::vector<std::string> core = words(text.substr(0, dash));
    must(core.size() == 3 || (core.size() == 2 && dash == text.size()), "version is none");
    for (const std::string& word : core) must(only(word, digits) && plain(word), "version is none");
    if (dash < plus) {
        for (const std::string& word : words(text.substr(dash + 1, plus - dash - 1)))
            must(only(word, signs) && plain(word), "version is none");
    }
    if (plus < text.size()) {
        for (const std::string& word : words(text.substr(plus + 1))) must(only(word, signs), "version is none");
    }
    return core[0];
}

// The parameters of a document, defaults filled in. The version is judged before what it may have changed.
inline Config read_document(const Json& document) {
    must(document.as<Members>() != nullptr, "model.json is no object");
    const Json* version = document.find("version");
    must(version && version->as<std::string>(), "version is no text");
    if (major_version(*version->as<std::string>()) != "1")
        throw Refusal("unsupported_version", "another major version");
    const Members& top =
        closed(document, {"name", "version", "architecture"}, {"parameters", "metadata", "initialisation", "weights"});
    for (const char* name : {"name", "architecture"}) {
        const auto* text = top.at(name).as<std::string>();
        must(text && !text->empty(), std::string(name) + " is no text");
    }
    const std::string& architecture = *top.at("architecture").as<std::string>();
    if (architecture != "GPT-3") throw Refusal("unsupported_architecture", architecture + " does not run here");
    if (const Json* metadata = document.find("metadata"))
        must(metadata->as<Members>() != nullptr, "metadata is no object");
    if (const Json* start = document.find("initialisation")) {
        must(natural(closed(*start, {"seed"}).at("seed"), 0, (std::int64_t{1} << 53) - 1),
             "seed is no integer that JSON can carry");
    }
    if (const Json* weights = document.find("weights")) {
        const auto* digest = closed(*weights, {"sha256"}).at("sha256").as<std::string>();
        must(digest && digest->size() == 64 && digest->find_first_not_of("0123456789abcdef") == std::string::npos,
             "sha256 is no digest");
    }
    must(top.count("parameters") > 0, "no parameters");
    return read_parameters(top.at("parameters"));
}

// ── weights ─────────────────────────────────────────────────────────────────────────────────────────────────────────

// Name -> shape of every tensor. Weights stand right of activations: [in, out].
inline Shapes tensor_shapes(const Config& c) {
    Shapes shapes{{"token_embedding", {c.V, c.D}}, {"position_embedding", {c.context, c.D}}};
    const auto pair = [&](const std::string& name, std::vector<std::int64_t> shape) {
        shapes[name + ".bias"] = {shape.back()};
        shapes[name + ".weight"] = std::move(shape);
    };
    for (std::int64_t i = 0; i < c.layers; ++i) {
        const std::string layer = "layers." + std::to_string(i) + ".";
        for (const char* part : {"query", "key", "value", "output"}) pair(layer + "attention." + part, {c.D, c.D});
        pair(layer + "attention_norm", {c.D});
        pair(layer + "feed_forward.up", {c.D, c.F});
        pair(layer + "feed_forward.down", {c.F, c.D});
        pair(layer + "feed_forward_norm", {c.D});
    }
    pair("final_norm", {c.D});
    if (!c.tied) shapes["head.weight"] = {c.V, c.D};
    return shapes;
}

// Sizes are at most 2^24, 2^20 and 2^16, so that no product of two overflows.
inline std::int64_t count(const std::vector<std::int64_t>& shape) {
    std::int64_t product = 1;
    for (const std::int64_t n : shape) product *= n;
    return product;
}

inline std::uint64_t little_endian(std::string_view bytes) {
    std::uint64_t number = 0;
    for (std::size_t i = bytes.size(); i-- > 0;) number = number << 8 | static_cast<unsigned char>(bytes[i]);
    return number;
}

template <class To, class From>
To same_bits(From from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}

// The number that bytes denote. A double is rounded to float; one that is too large for it becomes infinite.
inline float number(std::string_view bytes, const std::string& dtype) {
    const std::uint64_t bits = little_endian(bytes);
    if (dtype == "F64") return static_cast<float>(same_bits<double>(bits));
    if (dtype == "F32") return same_bits<float>(static_cast<std::uint32_t>(bits));
    if (dtype == "BF16") return same_bits<float>(static_cast<std::uint32_t>(bits << 16));
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    if (exponent == 31) return same_bits<float>(std::uint32_t{0x7f800000} | static_cast<std::uint32_t>(fraction));
    const float size =
        std::ldexp(static_cast<float>(exponent ? 1024 + fraction : fraction), (exponent ? exponent : 1) - 25);
    return bits >> 15 ? -size : size;
}

// The tensors of a safetensors file, which holds those of `shapes`, no more and no fewer.
inline std::map<std::string, Floats> read_tensors(std::string_view raw, const Json* digest, const Shapes& shapes) {
    static const std::map<std::string, std::int64_t> widths = {{"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2}};
    must(!digest || *digest->as<std::string>() == hexadecimal(sha256(raw)), "weights have another sha256");
    must(raw.size() >= 9, "too short for safetensors");
    const std::uint64_t size = little_endian(raw.substr(0, 8));
    must(size <= raw.size() - 8 && raw[8] == '{', "no header of safetensors");
    Json parsed = parse(raw.substr(8, size));
    auto& header = *parsed.as<Members>();
    const std::string_view data = raw.substr(8 + size);
    if (const Json* notes = parsed.find("__metadata__")) {
        must(notes->as<Members>() != nullptr, "__metadata__ is no object");
        for (const auto& [name, note] : *notes->as<Members>())
            must(note.as<std::string>() != nullptr, name + " is no text");
        header.erase("__metadata__");
    }
    std::map<std::string, Floats> weights;
    std::vector<std::pair<std::int64_t, std::int64_t>> spans;
    for (const auto& [name, value] : header) {
        const Members& entry = closed(value, {"dtype", "shape", "data_offsets"});
        const auto* dtype = entry.at("dtype").as<std::string>();
        const auto *shape = entry.at("shape").as<List>(), *offsets = entry.at("data_offsets").as<List>();
        const auto due = shapes.find(name);
        must(dtype && widths.count(*dtype), name + " has another dtype");
        must(due != shapes.end() && shape && shape->size() == due->second.size(), name + " is not of the model");
        for (std::size_t i = 0; i < shape->size(); ++i) {
            must(natural((*shape)[i], due->second[i], due->second[i]), name + " has another shape");
        }
        must(offsets && offsets->size() == 2, name + " has no place");
        const auto end = static_cast<std::int64_t>(data.size()), width = widths.at(*dtype), n = count(due->second);
        must(natural((*offsets)[0], 0, end) && natural((*offsets)[1], 0, end), name + " lies elsewhere");
        const std::int64_t from = *(*offsets)[0].as<std::int64_t>(), to = *(*offsets)[1].as<std::int64_t>();
        must(to - from == n * width, name + " does not span its bytes");
        spans.emplace_back(from, to);
        Floats numbers(static_cast<std::size_t>(n));
        for (std::int64_t i = 0; i < n; ++i) {
            numbers[i] = number(data.substr(from + i * width, width), *dtype);
            must(llmasos::is_finite(numbers[i]), name + " holds what is not finite in float32");
        }
        weights.emplace(name, std::move(numbers));
    }
    must(weights.size() == shapes.size(), "a tensor is missing");
    std::sort(spans.begin(), spans.end());
    std::int64_t at = 0;
    for (const auto& [from, to] : spans) {
        must(from == at, "tensors do not tile the data");
        at = to;
    }
    must(at == static_cast<std::int64_t>(data.size()), "more data than tensors");
    return weights;
}

// Weights of a bundle that holds none, from its seed (FMT-2): SplitMix64, whose outputs are four 16-bit numbers each; their
// sum, rounded to eight bits, half to even, times 2^-21.
inline Floats initial(const std::string& name, std::int64_t length, std::int64_t seed) {
    const auto ends = [&](const std::string& end) {
        return name.size() >= end.size() && name.compare(name.size() - end.size(), end.size(), end) == 0;
    };
    if (ends("norm.weight")) return Floats(length, 1.0f);
    if (ends(".bias")) return Floats(length, 0.0f);
    using namespace std::string_literals;
    const std::string key = sha256("llmasos-init/v1\0"s + std::to_string(seed) + "\0"s + name);
    std::uint64_t state = 0;
    for (int i = 0; i < 8; ++i) state = state << 8 | static_cast<unsigned char>(key[i]);
    Floats made(length);
    for (float& weight : made) {
        std::uint64_t z = state += 0x9E3779B97F4A7C15u;
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
        z = (z ^ z >> 27) * 0x94D049BB133111EBu;
        z ^= z >> 31;
        const auto part = [&](int shift) { return static_cast<int>(z >> shift & 0xFFFF); };
        const double sum = part(0) + part(16) + part(32) + part(48) - 131070;
        int exponent = 0;
        std::frexp(sum, &exponent);
        // std::nearbyint rounds half to even, as long as nobody has set another way.
        weight = static_cast<float>(std::ldexp(std::nearbyint(std::ldexp(sum, 8 - exponent)), exponent - 8 - 21));
    }
    return made;
}

inline std::map<std::string, Floats> initialise(const Shapes& shapes, std::int64_t seed) {
    std::int64_t total = 0;
    for (const auto& [name, shape] : shapes) total += count(shape);
    if (total > std::int64_t{1} << 30) throw Refusal("unsupported", "more weights than are made from a seed");
    std::map<std::string, Floats> weights;
    for (const auto& [name, shape] : shapes) weights.emplace(name, initial(name, count(shape), seed));
    return weights;
}

// ── files ───────────────────────────────────────────────────────────────────────────────────────────────────────────

// The bytes of a plain file, if there is one. Links may lead out of the bundle, and are refused.
inline std::optional<std::string> file(const std::filesystem::path& path, std::uintmax_t most = UINTMAX_MAX) {
    std::error_code none;
    const auto status = std::filesystem::symlink_status(path, none);
    if (!std::filesystem::exists(status)) return std::nullopt;
    const std::string name = path.filename().u8string();
    must(std::filesystem::is_regular_file(status), name + " is no plain file");
    must(std::filesystem::file_size(path, none) <= most && !none, name + " is too large");
    std::ifstream stream(path, std::ios::binary);
    must(stream.good(), name + " cannot be read");
    return std::string(std::istreambuf_iterator<char>(stream), {});
}

// A bundle, judged before anything of a size that it claims is made. Refuses with not_found, invalid_format,
// unsupported_version, unsupported_architecture or unsupported.
inline Bundle read(const std::string& path) {
    namespace fs = std::filesystem;
    if (path.find('\0') != std::string::npos) throw Refusal("invalid_argument", "no path");
    fs::path place = fs::u8path(path);
    std::error_code none;
    if (!fs::exists(fs::symlink_status(place, none))) throw Refusal("not_found", "nothing at the path");
    if (!fs::is_directory(place, none)) {
        must(place.filename() == "model.json", "neither a directory nor a model.json");
        place = place.parent_path();
    }
    const auto raw = file(place / "model.json", std::uintmax_t{1} << 20);
    if (!raw) throw Refusal("not_found", "no model.json");
    const Json document = parse(*raw);
    Bundle made{read_document(document), {}, std::nullopt};
    const Shapes shapes = tensor_shapes(made.config);
    const Json *stated = document.find("weights"), *start = document.find("initialisation");
    if (const auto stored = file(place / "model.safetensors")) {
        made.weights = read_tensors(*stored, stated ? stated->find("sha256") : nullptr, shapes);
    } else {
        must(!stated, "weights are stated and absent");
        if (!start && fs::exists(fs::symlink_status(place / "model.onnx", none))) {
            throw Refusal("unsupported", "the weights are in model.onnx alone");
        }
        made.weights = initialise(shapes, start ? *start->find("seed")->as<std::int64_t>() : 0);
    }
    if (const auto encoded = file(place / "tokenizer.json")) made.tokenizer = parse(*encoded);
    return made;
}

}  // namespace bundle
