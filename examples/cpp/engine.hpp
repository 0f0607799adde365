// A small honest engine: a GPT-3 in float32, one row at a time, with a cache of keys and values.
//
// It stands here in the place of yours. What the adapter asks of it: `logits(ids)`, and `generate` behind a prompt. What a
// question may hold was judged by requests.hpp.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bundle.hpp"

namespace engine {

using bundle::Config;
using bundle::Floats;
using llmasos::Refusal;
using Ids = std::vector<std::int64_t>;
using Rows = std::vector<Floats>;  // a position each

// ── choosing ────────────────────────────────────────────────────────────────────────────────────────────────────────

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

class Engine {
public:
    Engine(const Config& config, std::map<std::string, Floats> weights)
        : config(config), weights_(std::move(weights)) {}

    const Config config;

    // Logits [T · V] of a row of ids.
    Floats logits(const Ids& ids) const {
        Cache cache = begin();
        return extend(cache, ids);
    }

    // At most `limit` new ids behind a prompt, each of `allowed`, which ascend; an end-of-sequence id is the last.
    Ids generate(const Ids& prompt, std::int64_t limit, double temperature, std::optional<std::int64_t> seed,
                 const Ids& allowed) const {
        std::random_device chance;
        const auto drawn = seed ? static_cast<std::uint64_t>(*seed) : std::uint64_t{chance()} << 32 | chance();
        Cache cache = begin();
        Ids made;
        while (static_cast<std::int64_t>(made.size()) < limit && !(made.size() && config.eos.count(made.back()))) {
            const Floats row = extend(cache, made.empty() ? prompt : Ids{made.back()});
            const float* last = row.data() + row.size() - static_cast<std::size_t>(config.V);
            made.push_back(choose(last, temperature, allowed, drawn, made.size()));
        }
        return made;
    }

private:
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
