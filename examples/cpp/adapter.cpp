// A runtime as a candidate of LLMasOS; the harness starts it as `cmd:build/adapter`. Wherever `engine` is asked, yours
// is: engine.hpp stands in its place, and runs as it is.

#include "bundle.hpp"
#include "engine.hpp"
#include "llmasos.hpp"
#include "requests.hpp"
#include "tokenizer.hpp"

using llmasos::Json, llmasos::List, llmasos::Members, llmasos::object;

struct Model : llmasos::Object {
    explicit Model(bundle::Bundle bundle)
        : config(bundle.config),
          text(bundle.tokenizer ? tokenizer::from_file(*bundle.tokenizer, config.V) : tokenizer::bytes(config.V)),
          engine(config, std::move(bundle.weights)) {
        methods["forward"] = [this](const Json& params) {
            if (params.find("sources") || params.find("types")) throw llmasos::Refusal("invalid_argument", "ids alone");
            List logits;  // of every position, a tensor [T, V] for each row
            for (const Json& row : params.list("ids")) {
                const auto ids = requests::checked(llmasos::ids(row), config);
                logits.push_back(llmasos::tensor(engine.logits(ids), {std::int64_t(ids.size()), config.V}));
            }
            return object({{"logits", logits}});
        };
        methods["generate_ids"] = [this](const Json& params) {
            return generation(llmasos::ids(params.at("ids")), params, requests::all(config));
        };
        methods["generate_text"] = [this](const Json& params) {
            if (!text) throw llmasos::Refusal("unsupported", "the model has no tokenizer");
            return generation(text->encode(params.text("prompt")), params, requests::speaking(config, *text));
        };
    }

    Json generation(const requests::Ids& prompt, const Json& params, const requests::Ids& allowed) const {
        const auto asked = requests::options(params);
        const auto given = requests::begun(prompt, config);
        const auto limit = requests::limit(asked, given.size(), config);
        const auto ids = engine.generate(given, limit, asked.temperature, asked.seed, allowed);
        const bool ended = !ids.empty() && config.eos.count(ids.back());
        Members told{{"finish_reason", ended ? "stop" : "length"}, {"ids", llmasos::list(ids)}};
        told["prompt_tokens"] = given.size();
        told["completion_tokens"] = ids.size();
        if (text) told["text"] = text->decode({ids.begin(), ids.end() - ended});
        return told;
    }

    const bundle::Config config;
    const std::unique_ptr<tokenizer::Tokenizer> text;  // null where ids have no text
    const engine::Engine engine;
};

Json describe() {
    Members said{{"name", "mine"}, {"version", "1.0"}, {"architectures", List{"GPT-3"}}};
    // Take out "gumbel" where yours draws other noise than docs/gumbel.md, and "seed" too where a seed repeats nothing.
    said["capabilities"] = List{"load_model", "forward", "generate_ids", "seed", "gumbel"};
    // What engine.hpp computes in: say what yours does.
    said["claims"] = object({{"dtype", "float32"}, {"determinism", "D1"}});
    // What these files do for your runtime. Delete the line of what it does itself.
    said["emulated"] = object({
        {"format", "bundles are read and judged by bundle.hpp"},
        {"arguments", "options and ids are judged by requests.hpp"},
        {"generate_text", "text is turned into ids and back by tokenizer.hpp"},
    });
    return said;
}

int main() {
    llmasos::serve(describe, [](const std::string& path) { return std::make_shared<Model>(bundle::read(path)); });
}
