"""Models of the adapter kit are held to the reference, over its logits, so that nothing but the kit can differ."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import llmasos
from llmasos import sampling, weights
from llmasos_conformance import gumbel
from llmasos_conformance.adapters import kit
from llmasos_conformance.adapters.inprocess import InProcess
from llmasos_conformance.adapters.kit import choosing
from llmasos_conformance.adapters.reference import ReferenceAdapter, ReferenceModel
from llmasos_conformance.protocol import ARCHITECTURES, CAPABILITIES, Encoding, Generation, Refusal

OWN = {
    "GPT-3": {"local_attention_window": 3},
    "Llama": {"num_key_value_heads": 1, "sliding_window": 5},
    "Transformer": {"num_decoder_layers": 1, "decoder_start_token_id": 259},
    "BERT": {"mask_token_id": 7, "type_vocab_size": 3},
}
GENERATING = ("GPT-3", "Llama", "Transformer")


def code_of(call, *args, **options):
    """The code of what a call refuses with, or its value."""
    try:
        return call(*args, **options)
    except (Refusal, llmasos.LLMasOSError) as refusal:
        return refusal.code


class _Logits:
    """What the models below borrow: the reference's logits."""

    def __init__(self, path):
        super().__init__(kit.read_bundle(path, ARCHITECTURES, windows=True))
        self.reference = llmasos.load_model(path)

    def forward(self, batch, **beside):
        return self.reference.forward([kit.check_ids(self.config, row) for row in batch], **beside)


class Decoder(_Logits, kit.KitModel):
    pass


class EncoderDecoder(_Logits, kit.KitEncoderDecoder):
    pass


class Encoder(_Logits, kit.KitEncoder):
    def encode(self, batch, types=None):
        return [Encoding(hidden=row.hidden, pooled=row.pooled) for row in self.reference.encode(batch, types=types)]


KINDS = {"GPT-3": Decoder, "Llama": Decoder, "Transformer": EncoderDecoder, "BERT": Encoder}


def write(place, architecture, **parameters):
    """A bundle whose end-of-sequence ids come up now and then."""
    document = {
        "name": "small",
        "version": "1.0",
        "architecture": architecture,
        "parameters": {
            "vocab_size": 260, "embedding_dim": 8, "num_layers": 2, "num_heads": 2, "feed_forward_dim": 6,
            "context_length": 24, "tie_embeddings": False, "bos_token_id": 1, "eos_token_ids": [258, 10],
            **OWN[architecture], **parameters,
        },
    }  # fmt: skip
    random = np.random.default_rng(3)
    shapes = weights.expected_tensors(llmasos.ModelConfig.from_document(document))
    return str(llmasos.write_bundle(place, document, {n: random.normal(size=s) * 2 for n, s in shapes.items()}))


@pytest.fixture(scope="module")
def borrow(tmp_path_factory):
    """architecture, parameters -> model of the kit; made once."""
    made = {}

    def make(architecture, **parameters):
        key = (architecture, *sorted((name, str(value)) for name, value in parameters.items()))
        if key not in made:
            place = tmp_path_factory.mktemp("borrowed") / "bundle"
            made[key] = KINDS[architecture](write(place, architecture, **parameters))
        return made[key]

    return make


@pytest.fixture(scope="module", params=GENERATING)
def borrowed(request, borrow):
    return borrow(request.param)


def plain(generation):
    """A generation's members that both sides have."""
    if isinstance(generation, str):
        return generation
    return (
        generation.text, list(generation.ids), generation.finish_reason, generation.prompt_tokens,
        generation.completion_tokens, generation.logprobs and [dict(law) for law in generation.logprobs],
    )  # fmt: skip


def test_greedy_text_agrees_with_the_reference_for_every_limit_and_stop(borrowed):
    for prompt in ("", "a", "hé", "x" * 23, "x" * 24, "x" * 25):
        whole = code_of(borrowed.reference.generate, prompt, 30, 0.0)
        stops = (
            [[]]
            if isinstance(whole, str)
            else [[], [whole.text[3:5]] if whole.text[3:5] else [], ["\0", whole.text[-1:] or "q"]]
        )
        for stop in stops:
            for limit in (0, 1, 5, 30):
                options = {"stop": stop} if stop else {}
                ours = plain(code_of(borrowed.generate_text, prompt, limit, 0.0, **options))
                assert ours == plain(code_of(borrowed.reference.generate, prompt, limit, 0.0, **options)), (
                    prompt,
                    stop,
                    limit,
                )


def test_greedy_ids_and_their_log_probabilities_agree_with_the_reference(borrowed):
    for ids in ([], [1], [5, 6, 7], [0] * 24, [0] * 25, [260], [-1]):
        ours = code_of(borrowed.generate_ids, ids, 6, 0, logprobs=3)
        theirs = code_of(borrowed.reference.generate_ids, ids, 6, 0, logprobs=3)
        if isinstance(ours, str):
            assert ours == theirs
            continue
        assert plain(ours)[:-1] == plain(theirs)[:-1]
        for mine, due in zip(ours.logprobs, theirs.logprobs, strict=True):
            assert mine == pytest.approx(dict(due), abs=1e-12)


def test_streamed_pieces_agree_with_the_reference(borrowed):
    for prompt in ("a", "bc", "é"):
        for stop in ((), ("\x10\x11",)):
            ours = list(borrowed.stream_text(prompt, 12, 0, stop=stop))
            theirs = list(borrowed.reference.stream_text(prompt, 12, 0, stop=stop))
            assert ours[:-1] == theirs[:-1]
            assert "".join(ours[:-1]) == ours[-1].text


@settings(max_examples=150, deadline=None)
@given(
    logits=st.lists(st.integers(-6, 6), min_size=5, max_size=5),
    temperature=st.sampled_from([0.0, 0.3, 1.0, 2.0]),
    top_k=st.sampled_from([0, 1, 2, 4, 9]),
    top_p=st.sampled_from([0.05, 0.5, 0.9, 1.0]),
    min_p=st.sampled_from([0.0, 0.1, 1.0]),
    masked=st.booleans(),
)
def test_the_law_of_choice_is_the_reference_s(logits, temperature, top_k, top_p, min_p, masked):
    z, allowed = np.array(logits, dtype=np.float64) / 2, np.array([True, True, False, True, True]) if masked else None
    request = kit.Request(max_length=1, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    sampler = sampling.Sampler(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    if temperature > 0:
        np.testing.assert_allclose(kit.law(z, request, allowed), sampling.law(z, sampler, allowed), rtol=1e-12)
    for step in range(40):
        noise = sampling.noise(7, step, 5)
        assert kit.choose(z, request, allowed, noise) == sampling.choose(z, sampler, allowed, lambda g=noise: g)


@given(seed=st.integers(0, 2**64 - 1), step=st.integers(0, 2**32))
def test_the_noise_of_a_step_is_the_reference_s(seed, step):
    np.testing.assert_allclose(gumbel.noise(seed, step, 9), sampling.noise(seed, step, 9), rtol=1e-15)


@pytest.mark.parametrize(
    "options",
    [{}, {"temperature": 0.6, "top_k": 20, "top_p": 0.9, "min_p": 0.02}, {"presence_penalty": 1.0}],
)  # fmt: skip
def test_a_seed_leads_the_kit_where_it_leads_the_reference(borrowed, options):
    due = ReferenceModel(borrowed.reference).generate_ids([1, 2, 5], 16, seed=2**60 + 7, **options).ids
    assert list(borrowed.generate_ids([1, 2, 5], 16, seed=2**60 + 7, **options).ids) == list(due)


@pytest.mark.parametrize(
    "options",
    [
        {"max_length": -1}, {"max_length": 1.0}, {"max_length": True}, {"max_length": "1"}, {"max_length": None},
        {"temperature": -0.1}, {"temperature": "hot"}, {"temperature": None}, {"temperature": 10**400},
        {"temperature": True},
        {"temperature": 1.7e308}, {"seed": -1}, {"seed": 2**64}, {"seed": 2**64 - 1}, {"seed": 1.5}, {"seed": None},
        {"top_k": -1}, {"top_k": 10**30}, {"top_k": 1.0}, {"top_p": 0}, {"top_p": 0.0}, {"top_p": 1}, {"top_p": 1.01},
        {"top_p": "x"}, {"top_p": None}, {"min_p": -0.1}, {"min_p": 1}, {"min_p": 1.5}, {"stop": ""}, {"stop": [""]},
        {"stop": "x"}, {"stop": ["x", "y"]}, {"stop": []}, {"stop": None}, {"stop": [1]}, {"stop": 5}, {"logprobs": -1},
        {"logprobs": 0}, {"logprobs": 260}, {"logprobs": 261}, {"logprobs": True}, {"allow_special": 1},
        {"allow_special": True}, {"temperature": 0, "beams": 0}, {"temperature": 0, "beams": 1024, "max_length": 1},
        {"temperature": 0, "beams": 1025}, {"temperature": 0, "beams": 2.0}, {"temperature": 0, "beams": True},
        {"temperature": 0, "beams": None}, {"beams": 2}, {"beams": 1}, {"temperature": 0, "beams": 2, "stop": ["x"]},
        {"temperature": 0, "beams": 2, "stop": []}, {"temperature": 0, "beams": 2, "logprobs": 0},
        {"length_penalty": 7},
        {"temperature": 0, "beams": 2, "logprobs": None}, {"length_penalty": -1}, {"length_penalty": "1"},
        {"temperature": 0, "beams": 2, "length_penalty": 0}, {"length_penalty": 10**400}, {"stop": ["\ud800"]},
        {"logit_bias": {}}, {"logit_bias": {"97": -100, "0": 1.5}}, {"logit_bias": {"260": 1}},
        {"logit_bias": {"259": 1}},
        {"logit_bias": {"07": 1}}, {"logit_bias": {"-1": 1}}, {"logit_bias": {"٣": 1}},
        {"logit_bias": {"": 1}}, {"logit_bias": {"1" * 5000: 1}},
        {"logit_bias": {"a": 1}}, {"logit_bias": {"97": "1"}}, {"logit_bias": {"97": True}},
        {"logit_bias": {"97": None}}, {"logit_bias": {"97": 10**400}}, {"logit_bias": [97]}, {"logit_bias": None},
        {"repetition_penalty": 0}, {"repetition_penalty": -1}, {"repetition_penalty": 0.5}, {"repetition_penalty": "1"},
        {"repetition_penalty": True}, {"repetition_penalty": None}, {"repetition_penalty": 10**400},
        {"frequency_penalty": -2}, {"frequency_penalty": 1.5}, {"frequency_penalty": None}, {"frequency_penalty": "1"},
        {"presence_penalty": -2}, {"presence_penalty": 7}, {"presence_penalty": False}, {"presence_penalty": [1]},
        {"temperature": 0, "beams": 2, "repetition_penalty": 1.2},
        {"temperature": 0, "beams": 2, "presence_penalty": 1},
        {"temperature": 0, "beams": 2, "frequency_penalty": 0.0},
        {"temperature": 0, "beams": 2, "logit_bias": {"97": 1}}, {"temperature": 0, "beams": 2, "logit_bias": {}},
        {"temperature": 0, "beams": 1, "logit_bias": {"97": 1}},
        {"temperature": 0, "beams": 2, "top_p": 0.1}, {"nonsense": 1}, {"nonsense": 1, "top_p": 7}, {"max_tokens": 5},
    ],
)  # fmt: skip
def test_both_judge_arguments_alike(borrowed, options):
    given_options = {"max_length": 2, "temperature": 0.5, **options}
    ours = code_of(borrowed.generate_text, "a", **given_options)
    theirs = code_of(ReferenceModel(borrowed.reference).generate_text, "a", **given_options)
    assert (ours if isinstance(ours, str) else "") == (theirs if isinstance(theirs, str) else "")


def test_a_bias_leads_the_kit_where_it_leads_the_reference(borrowed):
    theirs = ReferenceModel(borrowed.reference)
    plain = theirs.generate_ids([1, 2], 6, 0).ids
    for bias in ({str(plain[0]): -100}, {str(plain[0]): -100, "5": 2.5}, {"7": 100}):
        ours = borrowed.generate_ids([1, 2], 6, 0, logit_bias=bias).ids
        assert list(ours) == list(theirs.generate_ids([1, 2], 6, 0, logit_bias=bias).ids) != list(plain)


@pytest.mark.parametrize(
    "penalties",
    [
        {"repetition_penalty": 1.8}, {"repetition_penalty": 0.6}, {"frequency_penalty": 0.7}, {"presence_penalty": 1.3},
        {"repetition_penalty": 1.5, "frequency_penalty": 0.4, "presence_penalty": 0.9, "logit_bias": {"5": 2.5}},
    ],
)  # fmt: skip
def test_penalties_lead_the_kit_where_they_lead_the_reference(borrowed, penalties):
    theirs = ReferenceModel(borrowed.reference)
    due = theirs.generate_ids([1, 2, 5], 12, 0, **penalties).ids
    assert list(borrowed.generate_ids([1, 2, 5], 12, 0, **penalties).ids) == list(due)


def test_a_seed_repeats_itself_and_no_seed_does_not(borrowed):
    def draw(seed):
        return borrowed.generate_ids([1], 12, 1.0, **({} if seed is None else {"seed": seed})).ids

    assert draw(7) == draw(7)
    assert len({tuple(draw(None)) for _ in range(4)}) > 1


def beside_ids(model):
    """What `open` and `score` want beside the ids."""
    return {"source": [9, 8, 7]} if isinstance(model, kit.KitEncoderDecoder) else {}


class Second(Decoder):
    """A runtime that chooses by itself: the second likeliest id of those that may come, whatever is asked for."""

    def chooser(self, request, given, allowed):
        self.told = (list(given), None if allowed is None else int(allowed.sum()))

        def chosen(logits, ids):
            self.behind = list(ids)
            order = np.argsort(-logits, kind="stable")
            return int([token for token in order if allowed is None or allowed[token]][1])

        return chosen


def test_a_runtime_that_chooses_by_itself_is_told_what_stands_before_and_what_may_come(tmp_path):
    model = Second(write(tmp_path / "bundle", "Llama"))
    made = model.generate_ids([5, 6], 3, 0)
    assert (model.told, model.behind) == (([5, 6], None), made.ids[:2])
    due = np.argsort(-model.forward([[5, 6]])[0][-1], kind="stable")[1]
    assert made.ids[0] == due
    model.generate_text("ab", 2)
    assert model.told == ([97, 98], len(model.tokenizer.text_ids | set(model.config["eos_token_ids"])))


def test_a_session_made_of_prefixes_agrees_with_the_reference(borrowed):
    beside = beside_ids(borrowed)
    session, due = borrowed.open([1, 2], **beside), borrowed.reference.open_session([1, 2], **beside)
    fork, twin = session.fork(), due.fork()
    np.testing.assert_allclose(session.extend([3, 4]), due.extend([3, 4]), atol=1e-12)
    np.testing.assert_allclose(fork.extend([5]), twin.extend([5]), atol=1e-12)
    assert code_of(fork.extend, [0] * 30) == "context_overflow"
    fork.close()
    assert code_of(fork.extend, [1]) == "invalid_argument"


def test_score_agrees_with_the_reference(borrowed):
    beside = beside_ids(borrowed)
    due = borrowed.reference.score([3, 4, 5], **beside)
    assert borrowed.score([3, 4, 5], **beside)[1:] == pytest.approx(due[1:], abs=1e-12)


def test_a_source_where_none_is_taken_and_none_where_one_is_wanted_are_refused_alike(borrowed):
    given = {} if beside_ids(borrowed) else {"source": [1]}
    for ours, theirs in ((borrowed.open, borrowed.reference.open_session), (borrowed.score, borrowed.reference.score)):
        assert code_of(ours, [1, 2], **given) == code_of(theirs, [1, 2], **given) == "invalid_argument"
    for beside in beside_ids(borrowed) and ({"source": [260]}, {"source": []}, {"source": [1] * 25}):
        assert code_of(borrowed.reference.score, [1, 2], **beside) in ("invalid_argument", "context_overflow")


@settings(max_examples=60, deadline=None)
@given(
    architecture=st.sampled_from(GENERATING),
    eos=st.sampled_from([[], [10], [258, 10], list(range(0, 260, 3))]),
    prompt=st.lists(st.integers(0, 259), min_size=1, max_size=4),
    beams=st.sampled_from([1, 2, 3, 5]),
    penalty=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
    limit=st.integers(0, 7),
)
def test_beams_lead_to_the_reference_s_continuation(borrow, architecture, eos, prompt, beams, penalty, limit):
    model = borrow(architecture, eos_token_ids=eos)
    options = {"beams": beams, "length_penalty": penalty}
    due = model.reference.generate_ids(prompt, limit, 0, **options)
    assert plain(model.generate_ids(prompt, limit, 0, **options)) == plain(due)


def test_beams_end_at_the_context_and_speak_in_texts_with_text(borrowed):
    for prompt in ("a", "é" * 11, "x" * 24):
        for options in ({"beams": 4}, {"beams": 2, "length_penalty": 0}):
            ours = list(borrowed.stream_text(prompt, 30, 0, **options))
            theirs = list(borrowed.reference.stream_text(prompt, 30, 0, **options))
            assert [plain(item) for item in ours] == [plain(item) for item in theirs]


class Scripted:
    """A session of a model of three ids whose law depends on what came before."""

    laws = {(): [0.5, 0.3, 0.2], (0,): [0.4, 0.3, 0.3], (1,): [0.05, 0.05, 0.9], (0, 0): [0.4, 0.3, 0.3]}  # noqa: RUF012
    opened = 0

    def __init__(self, ids=()):
        self.ids, Scripted.opened = ids, Scripted.opened + 1

    @property
    def logits(self):
        return np.log([self.laws.get(self.ids, [0.4, 0.3, 0.3])])

    def fork(self):
        return Scripted(self.ids)

    def extend(self, ids):
        self.ids = (*self.ids, *ids)

    def close(self):
        Scripted.opened -= 1


@pytest.mark.parametrize(
    ("beams", "penalty", "limit", "due"),
    [
        (2, 1.0, 1, [0]),  # 1 · ln 0.5
        (2, 0.0, 2, [1, 2]),  # 0.3 · 0.9 = 0.27 before 0.5 · 0.4 = 0.2, which greedy choice follows
        (1, 0.0, 2, [0, 0]),
        (3, 0.0, 2, [1, 2]),  # 0.27 before [2], which ends with 0.2
        (3, 0.0, 3, [1, 2]),
        (3, 2.0, 3, [0, 0, 0]),  # ln 0.08 / 9 = -0.28 before ln 0.27 / 4 = -0.33
        (2, 1e6, 3, [1, 2]),  # nothing is left of any score, and this one is put aside first
    ],
)
def test_beam_search_by_hand(beams, penalty, limit, due):
    Scripted.opened = 0
    request = kit.Request(max_length=limit, temperature=0, beams=beams, length_penalty=penalty)
    found = choosing.beam_search(Scripted(), request, limit, [2])
    assert found == due
    assert Scripted.opened == 0


def test_logits_that_are_not_finite_are_refused(borrowed):
    request = kit.Request(max_length=1, temperature=0)
    assert code_of(kit.choose, np.array([0.0, np.nan]), request, None, np.zeros(2)) == "unsupported"


def test_an_adapter_on_the_kit_is_short_and_whole(tmp_path):
    class Adapter:
        def describe(self):
            return {
                "name": "short",
                "version": "1",
                "capabilities": [*kit.EMULATED.keys() & CAPABILITIES.keys(), "load_model", "forward", "encode"],
                "claims": {"dtype": "float64"},
                "emulated": kit.emulated(),
                "architectures": ARCHITECTURES,
            }

        def load_model(self, path):
            return KINDS[kit.read_bundle(path, ARCHITECTURES, windows=True).config["architecture"]](path)

    connection = InProcess(Adapter())
    for architecture in ARCHITECTURES:
        path = write(tmp_path / architecture, architecture)
        held = connection.call("load_model", {"path": path})["model"]
        if architecture == "BERT":
            row = connection.call("encode", {"model": held, "ids": [[1, 2]], "types": [[0, 2]]})
            assert (row["hidden"][0].shape, row["pooled"].shape) == ((2, 8), (1, 8))
            assert len(connection.call("fill_mask", {"model": held, "ids": [1, 7, 7], "count": 3})["fills"]) == 2
            continue
        beside = {"source": [3]} if architecture == "Transformer" else {}
        assert connection.call("open", {"model": held, "ids": [1], **beside})["logits"].shape == (1, 260)
        rows = connection.call("generate_batch", {"model": held, "ids": [[1], [2]], "max_length": 2})["generations"]
        assert [len(row["ids"]) for row in rows] == [2, 2]
        streamed = connection.call("stream_text", {"model": held, "prompt": "a", "max_length": 3})
        assert streamed["generation"]["text"] is not None


def test_what_is_native_is_not_declared_as_emulated():
    assert "score" not in kit.emulated("score")
    assert set(kit.emulated()) - set(CAPABILITIES) == {"format", "arguments", "generate_text"}


def test_a_model_without_tokenizer_generates_ids_and_refuses_text(borrow):
    model = borrow("GPT-3", vocab_size=7, eos_token_ids=[2, 3])
    made = model.generate_ids([1], 3, 0)
    assert isinstance(made, Generation)
    assert made.text is None
    assert model.generate_ids([1], 3, 0, beams=2).text is None
    assert code_of(model.generate_text, "a") == "unsupported"
    assert code_of(model.generate_ids, [1], 3, 0, stop=["x"]) == "unsupported"


@pytest.mark.parametrize("text", ["\ud800", "a\udfff", 5, None, b"a"])
def test_what_is_no_unicode_text_is_refused_like_the_reference(borrowed, text):
    due = code_of(borrowed.reference.generate, text)
    assert code_of(borrowed.generate_text, text) == code_of(borrowed.tokenize, text) == due == "invalid_argument"


def test_an_option_that_nobody_knows_is_refused_by_the_reference_and_by_the_kit_alike(borrow, tmp_path):
    model = borrow("BERT")
    theirs = ReferenceAdapter().load_model(write(tmp_path / "bundle", "BERT"))
    for side in (theirs, model):
        for call, asked in ((side.fill_mask, [1, 7, 3]), (side.tokenize, "a")):
            with pytest.raises(Refusal, match="unknown option 'counts'; known: ") as refused:
                call(asked, counts=3)
            assert refused.value.code == "unknown_parameter"


# ── an encoder ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_fills_a_mask_agrees_with_the_reference(borrow):
    model = borrow("BERT")
    questions = [
        ([1, 7, 3], {}), ([7], {"count": 260}), ([7, 7, 2], {"count": 1, "types": [0, 2, 1]}),
        ([7, 1], {"types": None}),
        ([1, 2], {}), ([], {}), ([7, 260], {}), ([7] * 25, {}), ([7], {"count": 0}), ([7], {"count": 261}),
        ([7], {"count": True}), ([7], {"count": 1.0}), ([7], {"types": [3]}), ([7], {"types": [0, 0]}),
        ([7], {"types": [True]}),
    ]  # fmt: skip
    codes = set()
    for ids, options in questions:
        due = code_of(model.reference.fill_mask, ids, **options)
        ours = code_of(model.fill_mask, ids, **options)
        if isinstance(due, str) or isinstance(ours, str):
            assert ours == due, (ids, options)
            codes.add(ours)
            continue
        assert [list(law) for law in ours] == [list(law) for law in due]
        for mine, theirs in zip(ours, due, strict=True):
            assert mine == pytest.approx(theirs, abs=1e-12)
    assert codes == {"invalid_argument", "context_overflow"}
    assert code_of(borrow("BERT", mask_token_id=None).fill_mask, [7]) == "unsupported"


def test_an_encoder_refuses_what_it_does_not_do_and_the_others_refuse_what_it_does(borrow):
    model = borrow("BERT")
    for call in (model.open, model.score, model.generate_ids, model.stream_text, model.generate_batch):
        assert code_of(call, [1]) == "unsupported"
    assert code_of(model.generate_text, "a", 5, 0.0, beams=2) == "unsupported"
    for architecture in GENERATING:
        assert code_of(borrow(architecture).encode, [[1]]) == "unsupported"
        assert code_of(borrow(architecture).fill_mask, [7], 2) == "unsupported"


class Plain(kit.KitEncoder):
    """As the kit's own signature has it."""

    def forward(self, batch, types=None):
        return [np.zeros((len(row), self.config["vocab_size"]), np.float32) for row in batch]


def test_a_forward_pass_without_a_parameter_refuses_what_would_go_there(tmp_path):
    model = Plain(kit.read_bundle(write(tmp_path / "b", "BERT"), ("BERT",)))
    assert model.forward([[1, 2]], types=[[0, 1]], sources=None)[0].shape == (2, 260)
    assert code_of(model.forward, [[1, 2]], sources=[[3]]) == "invalid_argument"
