// The server side of the LLMasOS wire, version 0.1-draft, over standard input and output. Keep this file as it is.
//
//     llmasos::serve(describe, load_model);
//
// `load_model(path)` returns an Object of yours: a map from methods of the protocol to functions that take the params
// of the question and return its result, as docs/protocol.md has them. An Object that stands in a result, under `model`
// or `session`, is kept here and travels as a handle. `throw Refusal(code, message)` says no; whatever else is thrown
// is reported as an exception.
//
// Standard output belongs to the protocol: what is written to it by anybody else goes to standard error.
//
// JSON is read here too, and strictly. The common libraries take a key twice and integers that they cannot hold, which
// the model format forbids, so that a hundred lines of one's own are less than a dependency and what it lacks.

#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <initializer_list>
#include <limits>
#include <locale>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <variant>
#include <vector>

#if defined(_WIN32)
#include <fcntl.h>
#include <io.h>
#else
#include <fcntl.h>
#include <unistd.h>
#endif
#if __has_include(<cxxabi.h>)
#include <cxxabi.h>
#endif

namespace llmasos {

// ── values ──────────────────────────────────────────────────────────────────────────────────────────────────────────

// A "no" with one of the protocol's codes: invalid_argument, unknown_parameter, context_overflow, not_found, …
struct Refusal : std::runtime_error {
    Refusal(std::string code_, const std::string& message) : std::runtime_error(message), code(std::move(code_)) {}
    std::string code;
};

// Read from the bits, because a compiler that may assume that all numbers are finite (-ffast-math) drops std::isfinite.
inline bool is_finite(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return (bits >> 23 & 0xff) != 0xff;
}

inline bool is_finite(double value) {
    std::uint64_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return (bits >> 52 & 0x7ff) != 0x7ff;
}

// A value of JSON; beside that a tensor, or an object of yours that the server keeps.
class Json;
using List = std::vector<Json>;
using Members = std::map<std::string, Json>;
using Function = std::function<Json(const Json& params)>;

// What is asked by its methods: a model, a session.
struct Object {
    virtual ~Object() = default;
    std::map<std::string, Function> methods;
};

// Row-major; dtype is F64, F32, F16 or BF16, and the bytes are little-endian.
struct Tensor {
    std::string dtype;
    std::vector<std::int64_t> shape;
    std::string bytes;
};

// An integer that 64 bits do not hold.
struct Huge {
    std::string digits;
};

class Json {
public:
    Json() = default;
    Json(std::nullptr_t) {}
    Json(bool value) : value_(value) {}
    Json(double value) : value_(value) {}
    template <class T, std::enable_if_t<std::is_integral_v<T> && !std::is_same_v<T, bool>, int> = 0>
    Json(T value) : value_(static_cast<std::int64_t>(value)) {}
    Json(const char* value) : value_(std::string(value)) {}
    Json(std::string value) : value_(std::move(value)) {}
    Json(Huge value) : value_(std::move(value)) {}
    Json(List value) : value_(std::move(value)) {}
    Json(Members value) : value_(std::move(value)) {}
    Json(Tensor value) : value_(std::move(value)) {}
    template <class T, std::enable_if_t<std::is_base_of_v<Object, T>, int> = 0>
    Json(std::shared_ptr<T> value) : value_(std::shared_ptr<Object>(std::move(value))) {}

    // The value as a T, or nullptr: bool, std::int64_t, double, std::string, Huge, List, Members, Tensor, …
    template <class T>
    const T* as() const {
        return std::get_if<T>(&value_);
    }
    template <class T>
    T* as() {
        return std::get_if<T>(&value_);
    }
    bool null() const { return std::holds_alternative<std::monostate>(value_); }

    // A member of an object, or nullptr.
    const Json* find(const std::string& name) const {
        const auto* members = as<Members>();
        if (!members) return nullptr;
        const auto found = members->find(name);
        return found == members->end() ? nullptr : &found->second;
    }
    const Json& at(const std::string& name) const {
        if (const Json* found = find(name)) return *found;
        throw Refusal("invalid_argument", "params lack " + name);
    }

    // Members of params as what they have to be; whatever is of another type is refused with invalid_argument.
    const std::string& text(const std::string& name) const { return typed<std::string>(name, "a text"); }
    const std::vector<Json>& list(const std::string& name) const { return typed<std::vector<Json>>(name, "a list"); }
    std::int64_t integer(const std::string& name, std::int64_t otherwise) const {
        return find(name) ? typed<std::int64_t>(name, "an integer of 64 bits") : otherwise;
    }
    double number(const std::string& name, double otherwise) const {  // 1 is as good as 1.0
        const Json* found = find(name);
        if (found && found->as<std::int64_t>()) return static_cast<double>(*found->as<std::int64_t>());
        return found ? typed<double>(name, "a number") : otherwise;
    }

private:
    template <class T>
    const T& typed(const std::string& name, const char* due) const {
        const T* found = at(name).as<T>();
        if (!found) throw Refusal("invalid_argument", name + " is not " + due);
        return *found;
    }

    std::variant<std::monostate, bool, std::int64_t, Huge, double, std::string, List, Members, Tensor,
                 std::shared_ptr<Object>>
        value_;
};

inline Json object(std::initializer_list<std::pair<const std::string, Json>> members) { return Members(members); }

// A list of ids as numbers.
inline std::vector<std::int64_t> ids(const Json& row) {
    std::vector<std::int64_t> made;
    const auto* items = row.as<List>();
    if (!items) throw Refusal("invalid_argument", "ids are no list");
    for (const Json& id : *items) {
        if (!id.as<std::int64_t>()) throw Refusal("invalid_argument", "an id is no integer");
        made.push_back(*id.as<std::int64_t>());
    }
    return made;
}

// A list of anything that a Json can be made of.
template <class Items>
Json list(const Items& items) {
    return List(items.begin(), items.end());
}

inline Json tensor(const std::vector<float>& data, std::vector<std::int64_t> shape) {
    static_assert(sizeof(float) == 4 && std::numeric_limits<float>::is_iec559);
    std::string bytes(data.size() * 4, '\0');
    std::memcpy(bytes.data(), data.data(), bytes.size());  // on a machine that is little-endian
    return Tensor{"F32", std::move(shape), std::move(bytes)};
}

inline Json tensor(const std::vector<double>& data, std::vector<std::int64_t> shape) {
    std::string bytes(data.size() * 8, '\0');
    std::memcpy(bytes.data(), data.data(), bytes.size());
    return Tensor{"F64", std::move(shape), std::move(bytes)};
}

// ── UTF-8 ───────────────────────────────────────────────────────────────────────────────────────────────────────────

// The character that begins at a place: its bytes, and whether they are whole and well-formed. Of an ill-formed one the
// bytes are the longest beginning of a character, or one byte (Unicode 15, table 3-7).
inline std::pair<std::size_t, bool> character(std::string_view text, std::size_t at) {
    const auto byte = [&](std::size_t i) {
        return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0u;
    };
    const unsigned first = byte(0);
    if (first < 0x80) return {1, true};
    if (first < 0xC2 || first > 0xF4) return {1, false};
    const std::size_t length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    for (std::size_t i = 1; i < length; ++i) {
        unsigned low = 0x80, high = 0xBF;
        if (i == 1 && first == 0xE0) low = 0xA0;
        if (i == 1 && first == 0xED) high = 0x9F;
        if (i == 1 && first == 0xF0) low = 0x90;
        if (i == 1 && first == 0xF4) high = 0x8F;
        if (byte(i) < low || byte(i) > high) return {i, false};
    }
    return {length, true};
}

// Bytes as text; what is no UTF-8 becomes U+FFFD, one for each longest beginning of a character.
inline std::string well_formed(std::string_view bytes) {
    std::string made;
    for (std::size_t at = 0; at < bytes.size();) {
        const auto [length, whole] = character(bytes, at);
        made += whole ? bytes.substr(at, length) : "\xEF\xBF\xBD";
        at += length;
    }
    return made;
}

inline std::string utf8(std::uint32_t code) {
    if (code < 0x80) return {static_cast<char>(code)};
    const auto tail = [&](int shift) { return static_cast<char>(0x80 | ((code >> shift) & 63)); };
    if (code < 0x800) return {static_cast<char>(0xC0 | (code >> 6)), tail(0)};
    if (code < 0x10000) return {static_cast<char>(0xE0 | (code >> 12)), tail(6), tail(0)};
    return {static_cast<char>(0xF0 | (code >> 18)), tail(12), tail(6), tail(0)};
}

// ── JSON, read ──────────────────────────────────────────────────────────────────────────────────────────────────────

struct NoJson : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Strict JSON in UTF-8. A key twice, half a character, a number that is not finite and what is deeper than 64 levels
// are errors, as are 1.0 and 1e0 wherever an integer is due: they are doubles here.
class Reader {
public:
    explicit Reader(std::string_view text) : text_(text) {}

    Json whole() {
        for (std::size_t at = 0; at < text_.size();) {
            const auto [length, right] = character(text_, at);
            must(right, "no UTF-8");
            at += length;
        }
        Json value = read(1);
        space();
        must(at_ == text_.size(), "more than a value");
        return value;
    }

private:
    void must(bool condition, const char* what) const {
        if (!condition) throw NoJson(std::string(what) + ", at byte " + std::to_string(at_));
    }
    char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
    void space() {
        while (at_ < text_.size() && std::strchr(" \t\r\n", text_[at_]) && text_[at_] != '\0') ++at_;
    }
    bool take(std::string_view sign) {
        space();
        if (text_.substr(at_, sign.size()) != sign) return false;
        at_ += sign.size();
        return true;
    }

    Json read(int depth) {
        must(depth <= 64, "nested deeper than 64");
        if (take("{")) {
            Members made;
            if (take("}")) return made;
            do {
                std::string key = string();
                must(take(":"), "no colon");
                must(made.emplace(std::move(key), read(depth + 1)).second, "a key twice");
            } while (take(","));
            must(take("}"), "no end of an object");
            return made;
        }
        if (take("[")) {
            List made;
            if (take("]")) return made;
            do made.push_back(read(depth + 1));
            while (take(","));
            must(take("]"), "no end of a list");
            return made;
        }
        if (take("true")) return true;
        if (take("false")) return false;
        if (take("null")) return nullptr;
        return peek() == '"' ? Json(string()) : number();
    }

    std::string string() {
        must(take("\""), "no text");
        std::string made;
        for (;;) {
            must(at_ < text_.size() && static_cast<unsigned char>(peek()) >= 0x20, "no end of a text");
            const char sign = text_[at_++];
            if (sign == '"') return made;
            if (sign != '\\') {
                made += sign;
                continue;
            }
            const char escape = peek();
            ++at_;
            if (const auto place = std::string_view("\"\\/bfnrt").find(escape); place != std::string_view::npos) {
                made += "\"\\/\b\f\n\r\t"[place];
                continue;
            }
            must(escape == 'u', "no escape");
            std::uint32_t code = hex();
            if (code >= 0xD800 && code < 0xDC00) {
                must(text_.substr(at_, 2) == "\\u", "half a character");
                at_ += 2;
                const std::uint32_t low = hex();
                must(low >= 0xDC00 && low < 0xE000, "half a character");
                code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
            }
            must(code < 0xD800 || code > 0xDFFF, "half a character");
            made += utf8(code);
        }
    }

    std::uint32_t hex() {
        std::uint32_t code = 0;
        for (int i = 0; i < 4; ++i, ++at_) {
            const auto digit = std::string_view("0123456789abcdefABCDEF").find(peek());
            must(digit != std::string_view::npos, "no escape");
            code = code * 16 + static_cast<std::uint32_t>(digit < 16 ? digit : digit - 6);
        }
        return code;
    }

    bool digits() {
        const std::size_t from = at_;
        while (peek() >= '0' && peek() <= '9') ++at_;
        return at_ > from;
    }

    Json number() {
        const std::size_t from = at_;
        if (peek() == '-') ++at_;
        if (peek() == '0') ++at_;
        else must(digits(), "no value");
        const std::size_t end = at_;
        if (peek() == '.') {
            ++at_;
            must(digits(), "no digit behind the point");
        }
        if (peek() == 'e' || peek() == 'E') {
            ++at_;
            if (peek() == '+' || peek() == '-') ++at_;
            must(digits(), "no exponent");
        }
        const std::string literal(text_.substr(from, at_ - from));
        std::istringstream stream(literal);
        stream.imbue(std::locale::classic());  // whatever the program's locale takes for a point
        double real = 0;
        stream >> real;
        must(!stream.fail() || std::abs(real) <= 1, "a number beyond float64");  // one that is too small is 0
        if (at_ != end) return real;
        std::int64_t whole = 0;
        const auto parsed = std::from_chars(literal.data(), literal.data() + literal.size(), whole);
        return parsed.ec == std::errc() ? Json(whole) : Json(Huge{literal});
    }

    std::string_view text_;
    std::size_t at_ = 0;
};

inline Json parse(std::string_view text) { return Reader(text).whole(); }

// ── JSON, written ───────────────────────────────────────────────────────────────────────────────────────────────────

inline void write_text(std::string& out, std::string_view text) {
    static const char* const digits = "0123456789abcdef";
    out += '"';
    for (const char sign : text) {
        const auto code = static_cast<unsigned char>(sign);
        if (sign == '"' || sign == '\\') (out += '\\') += sign;
        else if (code < 0x20) ((out += "\\u00") += digits[code >> 4]) += digits[code & 15];
        else out += sign;
    }
    out += '"';
}

inline std::string base64(std::string_view bytes) {
    static const char* const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string made;
    made.reserve((bytes.size() + 2) / 3 * 4);
    for (std::size_t at = 0; at < bytes.size(); at += 3) {
        const std::size_t left = std::min<std::size_t>(3, bytes.size() - at);
        std::uint32_t group = 0;
        for (std::size_t i = 0; i < 3; ++i)
            group = group << 8 | (i < left ? static_cast<unsigned char>(bytes[at + i]) : 0u);
        for (std::size_t i = 0; i < 4; ++i) made += i <= left ? letters[(group >> (18 - 6 * i)) & 63] : '=';
    }
    return made;
}

// A value at the end of a text. Tensors become base64, or the frames that they are put into; objects are kept by `keep`.
class Writer {
public:
    using Keep = std::function<std::string(const std::string& kind, const std::shared_ptr<Object>&)>;
    Writer(std::vector<std::string>* frames, Keep keep) : frames_(frames), keep_(std::move(keep)) {}

    void write(std::string& out, const Json& value, const std::string& name = "") const {
        if (const auto* flag = value.as<bool>()) out += *flag ? "true" : "false";
        else if (const auto* whole = value.as<std::int64_t>()) out += std::to_string(*whole);
        else if (const auto* huge = value.as<Huge>()) out += huge->digits;
        else if (const auto* real = value.as<double>()) write_real(out, *real);
        else if (const auto* text = value.as<std::string>()) write_text(out, *text);
        else if (const auto* items = value.as<List>()) {
            out += '[';
            for (std::size_t i = 0; i < items->size(); ++i) {
                if (i) out += ',';
                write(out, (*items)[i]);
            }
            out += ']';
        } else if (const auto* members = value.as<Members>()) {
            out += '{';
            for (auto it = members->begin(); it != members->end(); ++it) {
                if (it != members->begin()) out += ',';
                write_text(out, it->first);
                out += ':';
                write(out, it->second, it->first);
            }
            out += '}';
        } else if (const auto* tensor = value.as<Tensor>()) {
            Members sent{{"dtype", tensor->dtype}, {"shape", list(tensor->shape)}};
            if (frames_) {
                sent.emplace("frame", frames_->size());
                frames_->push_back(tensor->bytes);
            } else {
                sent.emplace("data", base64(tensor->bytes));
            }
            write(out, sent);
        } else if (const auto* kept = value.as<std::shared_ptr<Object>>()) {
            write_text(out, keep_(name, *kept));
        } else {
            out += "null";
        }
    }

private:
    static void write_real(std::string& out, double value) {
        if (!is_finite(value)) {
            out += "null";  // what no number can say
            return;
        }
        char digits[32];
        const auto written = std::to_chars(digits, digits + sizeof digits, value);
        out.append(digits, written.ptr);
    }

    std::vector<std::string>* frames_;
    Keep keep_;
};

// ── questions ───────────────────────────────────────────────────────────────────────────────────────────────────────

// Per method what its params must have; "…" takes options of any name beside, "?" marks what may be left out, "[]" a list
// of lists of ids.
inline const std::map<std::string, std::string>& methods() {
    static const std::map<std::string, std::string> known = {
        {"describe", ""},
        {"load_model", "path"},
        {"unload_model", "model"},
        {"tokenize", "model text …"},
        {"detokenize", "model ids"},
        {"forward", "model ids[] sources?[] types?[]"},
        {"score", "model ids source?"},
        {"generate_text", "model prompt …"},
        {"generate_ids", "model ids …"},
        {"generate_batch", "model ids[] …"},
        {"stream_text", "model prompt …"},
        {"open", "model ids source?"},
        {"extend", "session ids"},
        {"fork", "session"},
        {"close", "session"},
        {"encode", "model ids[] types?[]"},
        {"fill_mask", "model ids …"},
        {"hidden_states", "model ids source? types?"},
        {"attention", "model ids source? types?"},
        {"cross_attention", "model ids source"},
        {"gradients", "model ids[] labels?[] sources?[] types?[]"},
        {"train_step", "model ids[] learning_rate labels?[] sources?[] types?[]"},
        {"export", "model …"},
        {"perplexity", "model ids …"},
        {"bleu", "hypotheses references …"},
        {"rouge", "hypotheses references …"},
    };
    return known;
}

inline bool is_ids(const Json& value) {
    const auto* items = value.as<List>();
    if (!items) return false;
    for (const Json& item : *items)
        if (!item.as<std::int64_t>()) return false;
    return true;
}

inline bool is_rows(const Json& value) {
    const auto* rows = value.as<List>();
    if (!rows) return false;
    for (const Json& row : *rows)
        if (!is_ids(row)) return false;
    return true;
}

// What is wrong with the structure of a question; empty if nothing is. Values are the candidate's to judge.
inline std::string fault(const std::string& method, const Json& params) {
    const auto* members = params.as<Members>();
    if (!members) return "params are no object";
    std::istringstream roles(methods().at(method));
    std::map<std::string, bool> known;
    bool options = false;
    for (std::string role; roles >> role;) {
        const bool rows = role.find("[]") != std::string::npos, optional = role.find('?') != std::string::npos;
        const std::string name = role.substr(0, role.find_first_of("?["));
        if (role == "…") {
            options = true;
            continue;
        }
        known[name] = true;
        const Json* value = params.find(name);
        if (!value && optional) continue;
        if (!value) return "params lacks " + name;
        if (name == "learning_rate" || name == "hypotheses" || name == "references") continue;
        const bool text = name == "path" || name == "model" || name == "session" || name == "text" || name == "prompt";
        const bool right = text ? value->as<std::string>() != nullptr : rows ? is_rows(*value) : is_ids(*value);
        if (!right) return name + " is of another type";
    }
    for (const auto& [name, value] : *members)
        if (!options && !known.count(name)) return "params has an unknown member " + name;
    return "";
}

// ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────────────

inline std::string name_of(const std::exception& error) {
    const char* name = typeid(error).name();
#if __has_include(<cxxabi.h>)
    int status = 0;
    const std::unique_ptr<char, void (*)(void*)> plain(abi::__cxa_demangle(name, nullptr, nullptr, &status), std::free);
    if (status == 0) return plain.get();
#endif
    return name;
}

// Answers for one adapter.
class Desk {
public:
    using Describe = std::function<Json()>;
    using Load = std::function<std::shared_ptr<Object>(const std::string& path)>;
    Desk(Describe describe, Load load) : describe_(std::move(describe)), load_(std::move(load)) {}

    // The message that answers a line: a line, and the frames behind it.
    std::vector<std::string> answer(std::string_view line) {
        constexpr int refused = -32000, invalid_request = -32600, no_method = -32601, invalid_params = -32602;
        Json asked;
        try {
            asked = parse(line);
        } catch (const NoJson& error) {
            return {failure(nullptr, invalid_request, error.what(), Members())};
        }
        const Json *id = asked.find("id"), *named = asked.find("method"), *given = asked.find("params");
        if (!id || !id->as<std::int64_t>() || !named || !named->as<std::string>()) {
            return {failure(nullptr, invalid_request, "no question: id or method is missing", Members())};
        }
        const std::string& method = *named->as<std::string>();
        if (!methods().count(method)) return {failure(*id, no_method, "no method " + method, Members())};
        const Json params = given ? *given : Json(Members());
        const std::string wrong = fault(method, params);
        if (!wrong.empty()) return {failure(*id, invalid_params, method + ": " + wrong, Members())};
        const Json* accepted = asked.find("frames");
        const bool framed = accepted && accepted->as<bool>() && *accepted->as<bool>();
        try {
            return success(*id, call(method, params), framed);
        } catch (const Refusal& refusal) {
            return {failure(*id, refused, refusal.what(), object({{"refusal", refusal.code}}))};
        } catch (const std::exception& error) {
            const std::string name = name_of(error), said = well_formed(error.what());
            return {failure(*id, refused, said, object({{"raised", name}, {"detail", name + ": " + said}}))};
        } catch (...) {
            return {failure(*id, refused, "an exception of no known type", object({{"raised", "unknown"}}))};
        }
    }

private:
    std::vector<std::string> success(const Json& id, const Json& result, bool framed) {
        std::vector<std::string> frames;
        const Writer writer(framed ? &frames : nullptr,
                            [this](const std::string& kind, const std::shared_ptr<Object>& kept) {
                                const std::string handle = kind.substr(0, 1) + std::to_string(++made_);
                                kept_[handle] = kept;
                                return handle;
                            });
        std::string line = "{\"jsonrpc\":\"2.0\",\"id\":";
        writer.write(line, id);
        line += ",\"result\":";
        writer.write(line, result);
        for (std::size_t i = 0; i < frames.size(); ++i) {
            (line += i ? "," : ",\"frames\":[") += std::to_string(frames[i].size());
        }
        line += frames.empty() ? "}\n" : "]}\n";
        frames.insert(frames.begin(), std::move(line));
        return frames;
    }

    static std::string failure(const Json& id, int code, const std::string& message, const Json& data) {
        const Json error = object({{"code", code}, {"message", well_formed(message)}, {"data", data}});
        std::string line;
        Writer(nullptr, nullptr).write(line, object({{"jsonrpc", "2.0"}, {"id", id}, {"error", error}}));
        return line + "\n";
    }

    Json call(const std::string& method, const Json& params) {
        if (method == "describe") {
            Json described = describe_();
            auto& members = *described.as<Members>();
            members.insert({{"protocol", "0.1-draft"}, {"frames", true}});
            return described;
        }
        if (method == "load_model") return object({{"model", load_(*params.at("path").as<std::string>())}});
        const std::string kind = params.find("session") ? "session" : "model";
        const Json* handle = params.find(kind);
        if (!handle || !handle->as<std::string>()) throw Refusal("unsupported", method + " is not offered");
        const auto found = kept_.find(*handle->as<std::string>());
        if (found == kept_.end() || found->first[0] != kind[0]) throw Refusal("invalid_argument", "no such " + kind);
        const std::shared_ptr<Object> owner = found->second;
        const bool ends = method == "unload_model" || method == "close";
        if (ends) kept_.erase(found);
        const auto function = owner->methods.find(method);
        if (function == owner->methods.end()) {
            if (ends) return Members();
            throw Refusal("unsupported", method + " is not offered");
        }
        Members own = *params.as<Members>();
        own.erase(kind);
        return function->second(own);
    }

    Describe describe_;
    Load load_;
    std::map<std::string, std::shared_ptr<Object>> kept_;
    long long made_ = 0;
};

// ── standard input and output ───────────────────────────────────────────────────────────────────────────────────────

// The protocol's own streams: whoever else reads standard input finds its end, whoever writes to standard output writes
// to standard error.
inline std::pair<std::FILE*, std::FILE*> claim_streams() {
    std::fflush(stdout);
#if defined(_WIN32)
    const int asked = _dup(0), answered = _dup(1), null = _open("NUL", _O_RDONLY);
    _dup2(null, 0);
    _close(null);
    _dup2(2, 1);
    _setmode(asked, _O_BINARY);  // no end of a line becomes two bytes, and no byte the end of the file
    _setmode(answered, _O_BINARY);
    return {_fdopen(asked, "rb"), _fdopen(answered, "wb")};
#else
    const int asked = dup(0), answered = dup(1), null = open("/dev/null", O_RDONLY);
    dup2(null, 0);
    close(null);
    dup2(2, 1);
    fcntl(asked, F_SETFD, FD_CLOEXEC);  // not inherited by what the engine starts
    fcntl(answered, F_SETFD, FD_CLOEXEC);
    return {fdopen(asked, "rb"), fdopen(answered, "wb")};
#endif
}

// Answer lines until the input ends, then end the process, without waiting for threads of whoever computes.
[[noreturn]] inline void serve(Desk::Describe describe, Desk::Load load) {
    const auto [asked, answered] = claim_streams();
    Desk desk(std::move(describe), std::move(load));
    std::string line;
    for (int byte; (byte = std::getc(asked)) != EOF;) {
        if (byte != '\n') {
            line += static_cast<char>(byte);
            continue;
        }
        for (const std::string& part : desk.answer(line)) {
            if (std::fwrite(part.data(), 1, part.size(), answered) != part.size()) std::_Exit(130);  // nobody listens
        }
        if (std::fflush(answered) != 0) std::_Exit(130);
        line.clear();
    }
    std::fflush(nullptr);
    std::_Exit(0);
}

}  // namespace llmasos
