// A small honest engine: a GPT-3 in float32, one row at a time, with a cache of keys and values.
//
// It stands here in the place of yours. What the adapter asks of it: `logits(ids)` and `generate(ids, options)`.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bundle.hpp"
#include "tokenizer.hpp"

namespace engine {

using bundle::Config;
using bundle::Floats;
using llmasos::Json;
using llmasos::Members;
using llmasos::Refusal;
using Ids = std::vector<std::int64_t>;
using Rows = std::vector<Floats>;  // a position each

// ── choosing ────────────────────────────────────────────────────────────────────────────────────────────────────────

struct Request {
    std::int64_t max_length = 100;
    double temperature = 1;
    std::optional<std::int64_t> seed;
};

// Options of a generation with their defaults; `params` has its prompt beside them.
inline Request request(const Json& params) {
    static const std::set<std::string> known = {"prompt", "ids", "max_length", "temperature", "seed"};
    for (const auto& [name, value] : *params.as<Members>())
        if (!known.count(name)) throw Refusal("unknown_parameter", "no option " + name);
    const auto allow = [](bool condition, const char* name) {
        if (!condition) throw Refusal("invalid_argument", std::string(name) + " is out of range");
    };
    Request made;
    const Json *limit = params.find("max_length"), *seed = params.find("seed");
    const auto* huge = limit ? limit->as<llmasos::Huge>() : nullptr;  // a limit that 64 bits do not hold is none
    made.max_length = huge && huge->digits[0] != '-' ? INT64_MAX : params.integer("max_length", made.max_length);
    made.temperature = params.number("temperature", made.temperature);
    if (seed && !seed->null()) made.seed = params.integer("seed", 0);
    allow(made.max_length >= 0, "max_length");
    allow(made.temperature >= 0, "temperature");
    allow(made.seed.value_or(0) >= 0, "seed");
    return made;
}

// Output n of SplitMix64 from state k.
inline std::uint64_t split_mix(std::uint64_t k, std::uint64_t n) {
    std::uint64_t z = k + (n + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

// The standard's noise: what makes a seeded text the same everywhere (docs/gumbel.md).
inline double noise(std::uint64_t seed, std::uint64_t step, std::uint64_t id) {
    const std::uint64_t w = split_mix(split_mix(split_mix(seed, 0), step), id);
    return -std::log(-std::log((static_cast<double>(w >> 12) + 0.5) / 4503599627370496.0));  // 2^52
}

// The id of the largest logit / temperature + noise, with temperature 0 of the largest logit; of equals the lowest.
// `candidates` ascend.
inline std::int64_t choose(const float* logits, double temperature, const Ids& candidates, std::uint64_t seed,
                           std::uint64_t step) {
    if (candidates.empty()) throw Refusal("unsupported", "no id may be chosen");
    double most = logits[candidates[0]];
    for (const auto id : candidates) most = std::max<double>(most, logits[id]);
    double best = -INFINITY;
    std::int64_t chosen = candidates[0];
    for (const auto id : candidates) {
        const double ahead = logits[id] - most;
        const double score =
            temperature == 0 ? ahead : ahead / temperature + noise(seed, step, static_cast<std::uint64_t>(id));
        if (score > best) std::tie(best, chosen) = std::pair(score, id);
    }
    return chosen;
}

// ── arithmetic ──────────────────────────────────────────────────────────────────────────────────────────────────────

inline float dot(const float* a, const float* b, std::int64_t length) {
    float total = 0;
    for (std::int64_t i = 0; i < length; ++i) total += a[i] * b[i];
    return total;
}

inline float gelu(float x) {
    constexpr float root = 0.7978845608028654f;  // √(2/π)
    return x / 2 * (1 + std::tanh(root * (x + 0.044715f * x * x * x)));
}

inline void add(Rows& x, const Rows& y) {
    for (std::size_t t = 0; t < x.size(); ++t)
        for (std::size_t d = 0; d < x[t].size(); ++d) x[t][d] += y[t][d];
}

// ── the model ───────────────────────────────────────────────────────────────────────────────────────────────────────

struct Cache {
    std::vector<std::pair<Rows, Rows>> layers;  // keys and values
    std::int64_t length = 0;
};

struct Made {
    Ids given, ids;
    bool ended;
};

class Engine {
public:
    explicit Engine(bundle::Bundle bundle)
        : config(bundle.config),
          text(bundle.tokenizer ? tokenizer::from_file(*bundle.tokenizer, config.V) : tokenizer::bytes(config.V)),
          weights_(std::move(bundle.weights)) {}

    const Config config;
    const std::unique_ptr<tokenizer::Tokenizer> text;  // null where ids have no text

    const tokenizer::Tokenizer& speaker() const {
        if (!text) throw Refusal("unsupported", "the model has no tokenizer");
        return *text;
    }

    // Logits [T · V] of a row of ids.
    Floats logits(const Ids& ids) const {
        check(ids);
        Cache cache = begin();
        return extend(cache, ids);
    }

    // New ids behind a prompt, an end-of-sequence id included, and whether one ended them; `params` hold the options.
    Made generate(const Ids& prompt, const Json& params, const Ids& candidates) const {
        const Request asked = request(params);
        Made made{prompt, {}, false};
        if (prompt.empty() && config.bos) made.given = {*config.bos};
        check(made.given);
        const std::int64_t limit =
            std::min(asked.max_length, config.context - static_cast<std::int64_t>(made.given.size()));
        std::random_device chance;
        const auto seed =
            asked.seed ? static_cast<std::uint64_t>(*asked.seed) : std::uint64_t{chance()} << 32 | chance();
        Cache cache = begin();
        while (static_cast<std::int64_t>(made.ids.size()) < limit && !made.ended) {
            const Floats row = extend(cache, made.ids.empty() ? made.given : Ids{made.ids.back()});
            const float* last = row.data() + row.size() - static_cast<std::size_t>(config.V);
            made.ids.push_back(choose(last, asked.temperature, candidates, seed, made.ids.size()));
            made.ended = config.eos.count(made.ids.back()) > 0;
        }
        return made;
    }

    // Ids that may come where ids are asked for: all of them.
    Ids all() const {
        Ids ids(static_cast<std::size_t>(config.V));
        std::iota(ids.begin(), ids.end(), 0);
        return ids;
    }

    // Ids that may continue a text: those with text, and those that end it.
    Ids speaking() const {
        std::set<std::int64_t> ids = speaker().text_ids();
        if (config.bos) ids.erase(*config.bos);
        ids.insert(config.eos.begin(), config.eos.end());
        return Ids(ids.begin(), ids.end());
    }

private:
    void check(const Ids& ids) const {
        for (const auto id : ids)
            if (id < 0 || id >= config.V) throw Refusal("invalid_argument", "no id: " + std::to_string(id));
        if (ids.empty()) throw Refusal("invalid_argument", "no ids");
        if (static_cast<std::int64_t>(ids.size()) > config.context)
            throw Refusal("context_overflow", "more ids than the context");
    }

    Cache begin() const { return {std::vector<std::pair<Rows, Rows>>(static_cast<std::size_t>(config.layers)), 0}; }

    const Floats& weight(const std::string& name) const { return weights_.at(name); }

    // Logits [T · V] of ids behind those of a cache, which then holds them too.
    Floats extend(Cache& cache, const Ids& ids) const {
        const std::int64_t D = config.D, V = config.V;
        const Floats &tokens = weight("token_embedding"), &places = weight("position_embedding");
        Rows x;
        for (const auto id : ids) {
            Floats row(tokens.begin() + id * D, tokens.begin() + (id + 1) * D);
            for (std::int64_t d = 0; d < D; ++d) row[d] += places[cache.length * D + d];
            x.push_back(std::move(row));
            ++cache.length;
        }
        for (std::int64_t i = 0; i < config.layers; ++i) {
            const std::string layer = "layers." + std::to_string(i) + ".";
            add(x, attention(norm(x, layer + "attention_norm"), layer + "attention.", cache.layers[i]));
            add(x, feed_forward(norm(x, layer + "feed_forward_norm"), layer + "feed_forward."));
        }
        const Floats& head = config.tied ? tokens : weight("head.weight");  // [V, D]
        Floats made;
        for (const Floats& row : norm(x, "final_norm"))
            for (std::int64_t v = 0; v < V; ++v) made.push_back(dot(row.data(), &head[v * D], D));
        return made;
    }

    // (x - mean) / √(variance + ε) · weight + bias, of each row on its own.
    Rows norm(Rows x, const std::string& name) const {
        const Floats &scale = weight(name + ".weight"), &bias = weight(name + ".bias");
        for (Floats& row : x) {
            const auto D = static_cast<float>(row.size());
            const float mean = std::accumulate(row.begin(), row.end(), 0.0f) / D;
            float squares = 0;
            for (const float value : row) squares += (value - mean) * (value - mean);
            const float factor = 1 / std::sqrt(squares / D + static_cast<float>(config.epsilon));
            for (std::size_t d = 0; d < row.size(); ++d) row[d] = (row[d] - mean) * factor * scale[d] + bias[d];
        }
        return x;
    }

    // x · weight + bias; the weight is [in, out].
    Rows linear(const Rows& x, const std::string& name) const {
        const Floats &map = weight(name + ".weight"), &bias = weight(name + ".bias");
        Rows made;
        for (const Floats& row : x) {
            Floats sums = bias;
            const float* at = map.data();
            for (const float value : row)
                for (float& sum : sums) sum += value * *at++;
            made.push_back(std::move(sums));
        }
        return made;
    }

    Rows attention(const Rows& x, const std::string& name, std::pair<Rows, Rows>& held) const {
        auto& [keys, values] = held;
        const std::int64_t K = config.D / config.heads;
        const Rows queries = linear(x, name + "query");
        const std::size_t before = keys.size();
        for (Floats& key : linear(x, name + "key")) keys.push_back(std::move(key));
        for (Floats& value : linear(x, name + "value")) values.push_back(std::move(value));
        const float root = std::sqrt(static_cast<float>(K));
        Rows joined;
        for (std::size_t t = 0; t < queries.size(); ++t) {
            Floats row(static_cast<std::size_t>(config.D), 0.0f), shares(before + t + 1);
            for (std::int64_t from = 0; from < config.D; from += K) {
                for (std::size_t s = 0; s < shares.size(); ++s)
                    shares[s] = dot(&queries[t][from], &keys[s][from], K) / root;
                const float most = *std::max_element(shares.begin(), shares.end());
                float total = 0;
                for (float& share : shares) total += share = std::exp(share - most);
                for (std::size_t s = 0; s < shares.size(); ++s)
                    for (std::int64_t k = from; k < from + K; ++k) row[k] += shares[s] / total * values[s][k];
            }
            joined.push_back(std::move(row));
        }
        return linear(joined, name + "output");
    }

    Rows feed_forward(const Rows& x, const std::string& name) const {
        Rows hidden = linear(x, name + "up");
        for (Floats& row : hidden) std::transform(row.begin(), row.end(), row.begin(), gelu);
        return linear(hidden, name + "down");
    }

    std::map<std::string, Floats> weights_;
};

}  // namespace engine
