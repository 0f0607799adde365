// What the questions of the protocol may hold, judged before an engine is asked: options, ids, what may continue a text.

#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "bundle.hpp"
#include "llmasos.hpp"
#include "tokenizer.hpp"

namespace requests {

using bundle::Config;
using llmasos::Json;
using llmasos::Refusal;
using Ids = std::vector<std::int64_t>;

struct Options {
    std::int64_t max_length = 100;
    double temperature = 1;
    std::optional<std::int64_t> seed;  // none: any chance will do
};

// Options of a generation with their defaults; `params` has its prompt beside them. Whoever knows more adds them here.
inline Options options(const Json& params) {
    static const std::set<std::string> known = {"prompt", "ids", "max_length", "temperature", "seed"};
    for (const auto& [name, value] : *params.as<llmasos::Members>())
        if (!known.count(name)) throw Refusal("unknown_parameter", "no option " + name);
    const auto allow = [](bool condition, const char* name) {
        if (!condition) throw Refusal("invalid_argument", std::string(name) + " is out of range");
    };
    Options made;
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

// A row of ids that the model takes.
inline Ids checked(Ids ids, const Config& config) {
    for (const auto id : ids)
        if (id < 0 || id >= config.V) throw Refusal("invalid_argument", "no id: " + std::to_string(id));
    if (ids.empty()) throw Refusal("invalid_argument", "no ids");
    if (static_cast<std::int64_t>(ids.size()) > config.context)
        throw Refusal("context_overflow", "more ids than the context");
    return ids;
}

// A prompt that the model takes: an empty one is the beginning-of-sequence id, where there is one.
inline Ids begun(Ids prompt, const Config& config) {
    if (prompt.empty() && config.bos) prompt = {*config.bos};
    return checked(std::move(prompt), config);
}

// How many new ids may come behind so many.
inline std::int64_t limit(const Options& asked, std::size_t given, const Config& config) {
    return std::min(asked.max_length, config.context - static_cast<std::int64_t>(given));
}

// Ids that may come where ids are asked for: all of them.
inline Ids all(const Config& config) {
    Ids ids(static_cast<std::size_t>(config.V));
    std::iota(ids.begin(), ids.end(), 0);
    return ids;
}

// Ids that may continue a text: those with text, and those that end it.
inline Ids speaking(const Config& config, const tokenizer::Tokenizer& text) {
    std::set<std::int64_t> ids = text.text_ids();
    if (config.bos) ids.erase(*config.bos);
    ids.insert(config.eos.begin(), config.eos.end());
    return Ids(ids.begin(), ids.end());
}

}  // namespace requests
