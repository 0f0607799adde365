// A runtime as a candidate of LLMasOS; the harness starts it as `cmd:build/adapter`. Wherever `engine` is asked, yours
// is: engine.hpp stands in its place, and runs as it is.

#include "bundle.hpp"
#include "engine.hpp"
#include "llmasos.hpp"

using llmasos::Json, llmasos::List, llmasos::Members, llmasos::object;

struct Model : llmasos::Object {
    explicit Model(const std::string& path) : engine(bundle::read(path)) {
        methods["forward"] = [this](const Json& params) {
            if (params.find("sources") || params.find("types")) throw llmasos::Refusal("invalid_argument", "ids alone");
            List logits;  // of every position, a tensor [T, V] for each row
            for (const Json& row : params.list("ids")) {
                const auto ids = llmasos::ids(row);
                logits.push_back(llmasos::tensor(engine.logits(ids), {std::int64_t(ids.size()), engine.config.V}));
            }
            return object({{"logits", logits}});
        };
        methods["generate_ids"] = [this](const Json& params) {
            return generation(engine.generate(llmasos::ids(params.at("ids")), params, engine.all()));
        };
        methods["generate_text"] = [this](const Json& params) {
            const auto prompt = engine.speaker().encode(params.text("prompt"));
            return generation(engine.generate(prompt, params, engine.speaking()));
        };
    }

    Json generation(const engine::Made& made) const {
        Members told{{"finish_reason", made.ended ? "stop" : "length"}, {"ids", llmasos::list(made.ids)}};
        told["prompt_tokens"] = made.given.size();
        told["completion_tokens"] = made.ids.size();
        if (engine.text) told["text"] = engine.text->decode({made.ids.begin(), made.ids.end() - made.ended});
        return told;
    }

    engine::Engine engine;
};

Json describe() {
    Members said{{"name", "mine"}, {"version", "1.0"}, {"architectures", List{"GPT-3"}}};
    said["capabilities"] = List{"load_model", "forward", "generate_ids", "seed", "gumbel"};
    // float32 is what engine.hpp computes in: say what yours does, and take out "gumbel" and "seed" above where it draws
    // other noise, or none, from a seed.
    said["claims"] = object({{"dtype", "float32"}, {"determinism", "D1"}});
    // What these files do for your runtime. Delete the line of what it does itself.
    said["emulated"] = object({
        {"format", "bundles are read and judged by bundle.hpp"},
        {"generate_text", "text is turned into ids and back by tokenizer.hpp"},
    });
    return said;
}

int main() {
    llmasos::serve(describe, [](const std::string& path) { return std::make_shared<Model>(path); });
}
