// Text to ids and back: bytes, or those kinds of tokenizer.json that need no tables of Unicode.
//
// Byte-level BPE (GPT-2), and Unigram whose spaces are marked by Metaspace (T5) or by a normalizer (Llama 2). Files of
// other kinds are refused with unsupported, and so are texts beyond ASCII where words have to be found in them; the
// capability `tokenize` is therefore not declared. Whoever has a tokenizer of his own replaces this file.

#pragma once

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "llmasos.hpp"

namespace tokenizer {

using llmasos::Json;
using llmasos::List;
using llmasos::Members;
using llmasos::Refusal;
using Ids = std::vector<std::int64_t>;

class Tokenizer {
public:
    virtual ~Tokenizer() = default;
    virtual std::set<std::int64_t> text_ids() const = 0;
    virtual Ids encode(const std::string& text) const = 0;
    virtual std::string decode(const Ids& ids) const = 0;  // ids without text add nothing
};

class Bytes : public Tokenizer {
public:
    std::set<std::int64_t> text_ids() const override {
        std::set<std::int64_t> ids;
        for (int byte = 0; byte < 256; ++byte) ids.insert(byte);
        return ids;
    }
    Ids encode(const std::string& text) const override {
        Ids ids;
        for (const char byte : text) ids.push_back(static_cast<unsigned char>(byte));
        return ids;
    }
    std::string decode(const Ids& ids) const override {
        std::string raw;
        for (const auto id : ids)
            if (id < 256) raw += static_cast<char>(id);
        return llmasos::well_formed(raw);
    }
};

// The tokenizer of a bundle that has no file; null where ids have no text.
inline std::unique_ptr<Tokenizer> bytes(std::int64_t V) { return V >= 256 ? std::make_unique<Bytes>() : nullptr; }

// ── files ───────────────────────────────────────────────────────────────────────────────────────────────────────────

inline void must(bool condition, const std::string& what) {
    if (!condition) throw Refusal("invalid_format", "tokenizer.json: " + what);
}

// Refuse what a file may ask for and does not run here.
inline void runs(bool condition, const std::string& what) {
    if (!condition) throw Refusal("unsupported", "tokenizer.json: " + what + " does not run here");
}

// Members of a file's parts, as far as they are there and of the type.
inline const Json* part(const Json& of, const std::string& name) {
    const Json* found = of.find(name);
    return found && !found->null() ? found : nullptr;
}
inline std::string text_of(const Json* of, const std::string& name) {
    const Json* found = of ? of->find(name) : nullptr;
    return found && found->as<std::string>() ? *found->as<std::string>() : "";
}
inline bool flag(const Json* of, const std::string& name, bool otherwise = false) {
    const Json* found = of ? of->find(name) : nullptr;
    return found && found->as<bool>() ? *found->as<bool>() : otherwise;
}

// A text as its characters.
inline std::vector<std::string> characters(std::string_view text) {
    std::vector<std::string> made;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t length = llmasos::character(text, at).first;
        made.emplace_back(text.substr(at, length));
        at += length;
    }
    return made;
}

inline void replace_all(std::string& text, std::string_view what, std::string_view with) {
    for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += with.size())
        text.replace(at, what.size(), with);
}

// GPT-2's alphabet: a byte that prints stands for itself, the others for the characters from U+0100 on.
inline const std::vector<std::string>& letters() {
    static const std::vector<std::string> made = [] {
        std::vector<std::string> all;
        std::uint32_t next = 256;
        for (std::uint32_t byte = 0; byte < 256; ++byte) {
            const bool prints = (byte > 32 && byte < 127) || (byte > 160 && byte != 173);
            all.push_back(llmasos::utf8(prints ? byte : next++));
        }
        return all;
    }();
    return made;
}

constexpr std::string_view mark = "\xE2\x96\x81";  // U+2581, which stands for a space

inline std::string byte_name(unsigned byte) {
    return std::string("<0x") + "0123456789ABCDEF"[byte >> 4] + "0123456789ABCDEF"[byte & 15] + ">";
}

// GPT-2's words of a text in ASCII: contractions; letters, numbers and other signs, each with a space before them; white
// space, of which the last belongs to the word behind it.
inline std::vector<std::string> words(const std::string& text) {
    for (const char byte : text) runs(static_cast<unsigned char>(byte) < 0x80, "finding words beyond ASCII");
    const auto kind = [&](std::size_t at) {
        const char sign = text[at];
        return std::strchr(" \t\n\v\f\r", sign) && sign ? 's'
               : std::isalpha(sign)                     ? 'a'
               : std::isdigit(sign)                     ? 'd'
                                                        : 'o';
    };
    std::vector<std::string> made;
    for (std::size_t at = 0, end = 0; at < text.size(); at = end) {
        end = at;
        for (const char* contraction : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}) {
            const std::string_view short_form = contraction;
            if (end == at && text.compare(at, short_form.size(), short_form) == 0) end = at + short_form.size();
        }
        const std::size_t first = at + (text[at] == ' ' && at + 1 < text.size());
        if (end == at && kind(first) != 's') {
            for (end = first; end < text.size() && kind(end) == kind(first);) ++end;
        } else if (end == at) {
            while (end < text.size() && kind(end) == 's') ++end;
            if (end < text.size() && end - at > 1) --end;
        }
        made.push_back(text.substr(at, end - at));
    }
    return made;
}

class File : public Tokenizer {
public:
    File(const Json& document, std::int64_t V) {
        const Json* model = part(document, "model");
        must(model && model->as<Members>(), "no model");
        const std::string type = text_of(model, "type");
        runs(type == "BPE" || type == "Unigram", "a model of type " + type);
        if (type == "BPE") open_bpe(document, *model);
        else open_unigram(document, *model);
        const Json* added = part(document, "added_tokens");
        must(!added || added->as<List>(), "added_tokens are no list");
        for (const Json& entry : added ? *added->as<List>() : List()) {
            const Json* id = entry.find("id");
            const std::string content = text_of(&entry, "content");
            must(id && id->as<std::int64_t>() && *id->as<std::int64_t>() >= 0 && !content.empty(),
                 "an added token is none");
            const std::int64_t token = *id->as<std::int64_t>();
            const auto known = ids_.find(content);
            must(names_.emplace(token, content).first->second == content, "an id has two tokens");
            must((known == ids_.end() || known->second == token) && !literals_.count(content),
                 content + " has two ids");
            const bool special = flag(&entry, "special");
            const bool takes = flag(&entry, "lstrip") || flag(&entry, "rstrip") || flag(&entry, "single_word") ||
                               flag(&entry, "normalized");
            runs(special || !takes, "an added token that takes more than itself");
            if (special) {
                special_.insert(token);
                ids_.erase(content);  // its literal is text
            } else {
                literals_.emplace(content, token);
            }
        }
        must(names_.empty() || names_.rbegin()->first < V, "an id that the model lacks");
    }

    std::set<std::int64_t> text_ids() const override {
        std::set<std::int64_t> ids;
        for (const auto& [id, name] : names_)
            if (!special_.count(id)) ids.insert(id);
        return ids;
    }

    Ids encode(const std::string& text) const override {
        Ids ids;
        std::size_t from = 0;
        const auto plain = [&](std::size_t to) {
            if (to == from) return;
            for (const std::string& word : split_(text.substr(from, to - from), from == 0)) {
                const Ids of_word = of_word_(word);
                ids.insert(ids.end(), of_word.begin(), of_word.end());
            }
        };
        for (std::size_t at = 0; at < text.size();) {
            // Of added tokens that begin here, the longest.
            std::string_view found;
            for (const auto& [name, id] : literals_)
                if (name.size() > found.size() && text.compare(at, name.size(), name) == 0) found = name;
            if (!found.empty()) {
                plain(at);
                ids.push_back(literals_.at(std::string(found)));
                from = at + found.size();
            }
            at += std::max<std::size_t>(1, found.size());
        }
        plain(text.size());
        return ids;
    }

    std::string decode(const Ids& ids) const override {
        std::string raw;
        bool first = true;
        for (const auto id : ids) {
            const auto found = names_.find(id);
            if (found == names_.end() || special_.count(id)) continue;
            raw += literals_.count(found->second) ? found->second : bytes_(found->second, first);
            first = false;
        }
        const std::string text = llmasos::well_formed(raw);
        return strips_ && text.substr(0, 1) == " " ? text.substr(1) : text;
    }

private:
    void learn(const std::string& name, const Json& id) {
        must(id.as<std::int64_t>() && *id.as<std::int64_t>() >= 0, name + " has no id");
        must(names_.emplace(*id.as<std::int64_t>(), name).second, "an id has two tokens");
        must(ids_.emplace(name, *id.as<std::int64_t>()).second, name + " is listed twice");
    }

    // Byte-level BPE.
    void open_bpe(const Json& document, const Json& model) {
        const Json *cutter = part(document, "pre_tokenizer"), *decoder = part(document, "decoder"),
                   *dropout = part(model, "dropout");
        const Json *vocabulary = model.find("vocab"), *merges = model.find("merges");
        must(vocabulary && vocabulary->as<Members>() && merges && merges->as<List>(), "no vocabulary, or no merges");
        must(!dropout || (dropout->as<double>() && *dropout->as<double>() == 0),
             "dropout makes ids a matter of chance");
        runs(!part(document, "normalizer") && text_of(cutter, "type") == "ByteLevel" &&
                 !flag(cutter, "add_prefix_space"),
             "this way to cut text");
        runs(text_of(decoder, "type") == "ByteLevel", "this decoder");
        const bool usual =
            text_of(&model, "continuing_subword_prefix").empty() && text_of(&model, "end_of_word_suffix").empty();
        runs(usual && !flag(&model, "ignore_merges"), "this kind of BPE");
        for (const auto& [name, id] : *vocabulary->as<Members>()) learn(name, id);
        for (const std::string& letter : letters()) must(ids_.count(letter) > 0, "a byte has no token");
        std::map<std::pair<std::string, std::string>, std::size_t> ranks;
        for (const Json& merge : *merges->as<List>()) {
            std::pair<std::string, std::string> pair;
            if (const auto* text = merge.as<std::string>()) {
                const std::size_t space = text->find(' ');
                if (space != std::string::npos) pair = {text->substr(0, space), text->substr(space + 1)};
            } else if (const auto* both = merge.as<List>(); both && both->size() == 2) {
                const auto *left = (*both)[0].as<std::string>(), *right = (*both)[1].as<std::string>();
                if (left && right) pair = {*left, *right};
            }
            must(ids_.count(pair.first) && ids_.count(pair.second) && ids_.count(pair.first + pair.second),
                 "a merge of what the vocabulary lacks");
            ranks.emplace(pair, ranks.size());
        }
        of_word_ = [this, ranks](const std::string& word) {
            std::vector<std::string> parts;
            for (const char byte : word) parts.push_back(letters()[static_cast<unsigned char>(byte)]);
            for (;;) {
                // The pair that stands first in the list; of equals the leftmost.
                std::size_t best = std::numeric_limits<std::size_t>::max(), place = 0;
                for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
                    const auto rank = ranks.find({parts[i], parts[i + 1]});
                    if (rank != ranks.end() && rank->second < best) std::tie(best, place) = std::pair(rank->second, i);
                }
                if (best == std::numeric_limits<std::size_t>::max()) break;
                parts[place] += parts[place + 1];
                parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(place) + 1);
            }
            Ids ids;
            for (const std::string& name : parts) ids.push_back(ids_.at(name));
            return ids;
        };
        const bool cuts = flag(cutter, "use_regex", true);
        split_ = [cuts](const std::string& text, bool) { return cuts ? words(text) : std::vector<std::string>{text}; };
        bytes_ = [](const std::string& name, bool) {
            static const std::map<std::string, char> byte_of = [] {
                std::map<std::string, char> made;
                for (std::size_t byte = 0; byte < 256; ++byte) made.emplace(letters()[byte], static_cast<char>(byte));
                return made;
            }();
            std::string raw;
            for (const std::string& letter : characters(name)) {
                const auto found = byte_of.find(letter);
                if (found == byte_of.end()) return name;  // no spelling of bytes, but text
                raw += found->second;
            }
            return raw;
        };
    }

    // Unigram: the pieces with the largest sum of scores; of equal sums, that with the longest last piece.
    void open_unigram(const Json& document, const Json& model) {
        const Json *cutter = part(document, "pre_tokenizer"), *decoder = part(document, "decoder"),
                   *normalizer = part(document, "normalizer");
        const Json *vocabulary = model.find("vocab"), *unknown = part(model, "unk_id");
        must(vocabulary && vocabulary->as<List>() && !vocabulary->as<List>()->empty(), "no vocabulary");
        double lowest = INFINITY;
        std::map<std::string, double> scores;
        std::int64_t next = 0;
        for (const Json& entry : *vocabulary->as<List>()) {
            const auto* pair = entry.as<List>();
            must(pair && pair->size() == 2 && (*pair)[0].as<std::string>(), "a piece is none");
            const auto* real = (*pair)[1].as<double>();
            const auto* whole = (*pair)[1].as<std::int64_t>();
            must(real || whole, "a score is no number");
            const double score = real ? *real : static_cast<double>(*whole);
            learn(*(*pair)[0].as<std::string>(), next++);
            scores.emplace(*(*pair)[0].as<std::string>(), score);
            lowest = std::min(lowest, score);
        }
        must(unknown && unknown->as<std::int64_t>() && names_.count(*unknown->as<std::int64_t>()),
             "some texts have no ids");
        const bool marks = text_of(cutter, "type") == "Metaspace" && text_of(cutter, "replacement") == mark &&
                           flag(cutter, "split", true);
        const bool usual =
            marks ? !normalizer && text_of(decoder, "type") == "Metaspace" : !cutter && is_marking(normalizer);
        runs(usual, "this way to cut text");
        runs(marks || is_unmarking(decoder), "this decoder");
        const bool spells = flag(&model, "byte_fallback");
        for (unsigned byte = 0; spells && byte < 256; ++byte)
            must(ids_.count(byte_name(byte)) > 0, "a byte has no token");
        const std::string scheme = marks ? text_of(cutter, "prepend_scheme") : "always";
        const bool drops = marks && text_of(decoder, "prepend_scheme") != "never";
        strips_ = !marks;
        split_ = [marks, scheme](std::string text, bool first) {
            replace_all(text, " ", mark);
            const bool has = marks && text.compare(0, mark.size(), mark) == 0;
            if ((scheme == "always" || (scheme == "first" && first)) && !has) text.insert(0, mark);
            std::vector<std::string> made;
            for (std::size_t at = 0, end = 0; at < text.size(); at = end) {
                end = marks ? std::min(text.find(mark, at + 1), text.size()) : text.size();
                made.push_back(text.substr(at, end - at));
            }
            return made;
        };
        bytes_ = [marks, drops](std::string name, bool first) {
            for (unsigned byte = 0; !marks && byte < 256; ++byte)
                if (name == byte_name(byte)) return std::string(1, static_cast<char>(byte));
            replace_all(name, mark, first && drops ? "" : " ");
            return name;
        };
        of_word_ = [this, scores, spells, unknown = *unknown->as<std::int64_t>(),
                    penalised = lowest - 10](const std::string& word) {
            struct Best {
                double sum;
                std::size_t from;
                std::optional<std::int64_t> id;
            };
            const std::vector<std::string> signs = characters(word);
            std::vector<std::optional<Best>> best(signs.size() + 1);
            best[0] = Best{0, 0, 0};
            for (std::size_t from = 0; from < signs.size(); ++from) {
                std::string name;
                for (std::size_t to = from + 1; to <= signs.size(); ++to) {
                    name += signs[to - 1];
                    const auto id = ids_.find(name);
                    if (id == ids_.end() && to > from + 1) continue;
                    const bool known = id != ids_.end();
                    const double sum = best[from]->sum + (known ? scores.at(name) : penalised);
                    if (!best[to] || sum > best[to]->sum)
                        best[to] = Best{sum, from, known ? std::optional(id->second) : std::nullopt};
                }
            }
            Ids reversed;
            for (std::size_t at = signs.size(); at > 0; at = best[at]->from) {
                const std::size_t from = best[at]->from;
                const std::string& sign = signs[from];
                if (best[at]->id) reversed.push_back(*best[at]->id);
                else if (spells)
                    for (std::size_t i = sign.size(); i-- > 0;)
                        reversed.push_back(ids_.at(byte_name(static_cast<unsigned char>(sign[i]))));
                else if (best[from]->id) reversed.push_back(unknown);  // neighbours of no piece are one token
            }
            return Ids(reversed.rbegin(), reversed.rend());
        };
    }

    // Whether a normalizer puts a mark in front, and one for each space.
    static bool is_marking(const Json* normalizer) {
        const Json* parts = normalizer ? normalizer->find("normalizers") : nullptr;
        if (!parts || !parts->as<List>() || parts->as<List>()->size() != 2) return false;
        const Json &first = (*parts->as<List>())[0], &second = (*parts->as<List>())[1];
        const bool puts = text_of(&first, "type") == "Prepend" && text_of(&first, "prepend") == mark;
        const bool replaces = text_of(&second, "type") == "Replace" && text_of(&second, "content") == mark;
        return puts && replaces && text_of(second.find("pattern"), "String") == " ";
    }

    // Whether a decoder makes spaces of marks and bytes of their names, and takes a space off the front.
    static bool is_unmarking(const Json* decoder) {
        const Json* parts = decoder ? decoder->find("decoders") : nullptr;
        std::string chain;
        for (const Json& each : parts && parts->as<List>() ? *parts->as<List>() : List())
            chain += text_of(&each, "type") + " ";
        return chain == "Replace ByteFallback Fuse Strip ";
    }

    std::map<std::int64_t, std::string> names_;
    std::map<std::string, std::int64_t> ids_;       // of the model, without special tokens
    std::map<std::string, std::int64_t> literals_;  // added tokens that are text
    std::set<std::int64_t> special_;
    std::function<std::vector<std::string>(std::string text, bool first)> split_;
    std::function<Ids(const std::string& word)> of_word_;
    std::function<std::string(std::string name, bool first)> bytes_;
    bool strips_ = false;
};

// The tokenizer of a file that was parsed; V is the model's vocab_size.
inline std::unique_ptr<Tokenizer> from_file(const Json& document, std::int64_t V) {
    return std::make_unique<File>(document, V);
}

}  // namespace tokenizer
