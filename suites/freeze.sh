#!/bin/sh
# Writes the profiles of this version anew. A profile that has been published is kept: see docs/suite-life.md.
set -eu
freeze() { python -m llmasos_conformance.suite freeze --replace "$@"; }
text=GPT-3,load_model,tokenize
logits=$text,forward,generate_ids
serving=stop,stream,seed,gumbel,top_k,top_p,min_p,logit_bias,repetition_penalty,frequency_penalty,presence_penalty
freeze core/gpt/text --requires GPT-3,load_model --within $text
freeze core/gpt/logits --requires GPT-3,load_model,forward,generate_ids --within $logits
freeze inference/gpt/text --requires GPT-3,load_model,tokenize,stop,stream,seed --within $text,$serving
freeze inference/gpt/logits --requires GPT-3,load_model,tokenize,forward,generate_ids,session,batch,score,stop,stream,seed \
  --within $logits,$serving,session,batch,score,logprobs
# The other architectures: what a vendor of that architecture alone is held to.
own=load_model,tokenize,forward,generate_ids,window
all=$own,$serving,session,batch,score,logprobs,beams
freeze core/llama/logits --requires Llama,load_model,forward,generate_ids --within Llama,$own --match 'llama.*' 'beams.*'
freeze inference/llama/logits --requires Llama,load_model,tokenize,forward,generate_ids,session,batch,score,stop,stream,seed \
  --within Llama,$all --match 'llama.*' 'beams.*' 'shaping.*' 'gumbel.*'
freeze core/bert/logits --requires BERT,load_model,forward,encode,fill_mask --within BERT,$own,encode,fill_mask \
  --match 'bert.*'
freeze inference/bert/encodings --requires BERT,load_model,encode,fill_mask --within BERT,load_model,tokenize,encode,fill_mask \
  --match 'bert.*'
freeze core/transformer/logits --requires Transformer,load_model,forward,generate_ids --within Transformer,$own \
  --match 'transformer.*'
freeze inference/transformer/logits \
  --requires Transformer,load_model,tokenize,forward,generate_ids,session,batch,score --within Transformer,$all \
  --match 'transformer.*' 'beams.*' 'shaping.*' 'gumbel.*'
# Beside any of them: bands, beams, what can be looked at and how it learns, scores of texts, interchange.
freeze bands/gpt --requires GPT-3,load_model,forward,generate_ids,window --within GPT-3,$all --match 'banded.*'
freeze beams/gpt --requires GPT-3,load_model,generate_ids,beams --within GPT-3,$all --match 'beams.*'
for one in gpt:GPT-3 llama:Llama bert:BERT transformer:Transformer; do
  freeze inside/${one%:*} --requires ${one#*:},load_model,forward,hidden_states,attention,gradients,train_step \
    --within ${one#*:},load_model,forward,hidden_states,attention,gradients,train_step,window --match 'inside.*'
  freeze interchange/${one%:*} --requires ${one#*:},load_model,forward,onnx \
    --within ${one#*:},load_model,forward,onnx,session,batch,encode,window --match 'interchange.*' 'onnx.*'
  freeze export/${one%:*} --requires ${one#*:},load_model,export --within ${one#*:},load_model,export,window \
    --match 'export.*'
done
freeze metrics/gpt --requires GPT-3,load_model,perplexity,bleu,rouge --within GPT-3,load_model,perplexity,bleu,rouge \
  --match 'metrics.*'
freeze metrics/llama --requires Llama,load_model,perplexity,bleu,rouge --within Llama,load_model,perplexity,bleu,rouge,window \
  --match 'metrics.*'
freeze metrics/text --requires bleu,rouge --match 'metrics.bleu.*' 'metrics.rouge.*'
# One model that is given for the run: `llmasos certify --bundle DIR`.
for one in gpt:GPT-3 llama:Llama bert:BERT transformer:Transformer; do
  freeze bundle/${one%:*} --requires ${one#*:},load_model,forward --bundle --match "bundle.${one%:*}.*"
done
# A server with a model of its own choice, behind an API like OpenAI's.
asked=concurrent,choices,stop,stream,seed,top_k,top_p,min_p,frequency_penalty,presence_penalty,logprobs
freeze hosted/completions --requires completions,stop,stream --within completions,echo,$asked --hosted \
  --match 'hosted.completions.*' 'hosted.echo.*'
freeze hosted/chat --requires chat,stop,stream --within chat,completions,template,$asked --hosted \
  --match 'hosted.chat.*' 'hosted.template.*'
# One or two of each kind: enough to know that the wiring is right.
freeze quick --requires GPT-3,load_model --match \
  format.json.presentation format.unknown-keys.refused format.types.exact format.version.newer-major \
  loading.path.not-found loading.tensors.shape loading.file.cut loading.safety.links loading.refused.serves-on \
  api.max-length.counts-new-tokens api.prompt.not-repeated api.temperature.zero api.temperature.refused \
  api.options.unknown api.eos.every-id api.finish-reason.stop-or-length api.context.prompt-too-long api.seed.same \
  api.seed.zero text.round-trip.hard-texts text.stop.across-tokens text.stream.whole contracts.ids.forward \
  contracts.types.max-length \
  numerics.plain numerics.small-embedding numerics.hot-attention numerics.hot-ffn numerics.last-position \
  attention.causal.future-token attention.prefix batch.ragged cache.single-steps cache.fork \
  state.logits-after.refused state.equal-lengths state.repeat.ids greedy.largest-logit greedy.ties.twins \
  scores.plain logprobs.greedy tokenizers.merges.by-hand tokenizers.word-piece.by-hand tokenizers.unigram.by-hand
freeze quick/llama --requires Llama,load_model --match \
  llama.format.three-keys llama.format.presentation llama.format.unknown-keys llama.format.types llama.format.version \
  llama.loading.path.not-found llama.loading.tensors.shape llama.loading.cut.anywhere llama.loading.links \
  llama.loading.serves-on llama.generation.max-length llama.generation.eos llama.generation.prompt-too-long \
  llama.generation.temperature-zero llama.generation.values-refused llama.ids.refused llama.stop.across-tokens \
  llama.stream.whole llama.numbers.plain llama.rotary.order llama.rotary.last-position llama.norms.weights \
  llama.norms.epsilon llama.feed-forward.silu llama.heads.shared llama.head.tied llama.attention.overflow \
  llama.causal.future-token llama.prefix llama.window.bounds llama.batch.ragged llama.cache.every-split llama.cache.fork \
  llama.state.logits-after.refused llama.state.equal-lengths llama.state.repeat.ids llama.greedy.largest-logit \
  llama.greedy.ties llama.scores.plain llama.logprobs.raw
freeze quick/bert --requires BERT,load_model --match \
  bert.format.three-keys bert.format.refused bert.format.foreign-keys bert.format.default-epsilon bert.format.weights \
  bert.plain bert.in-place bert.positions.last bert.bidirectional.last-token bert.types.changed bert.types.left-out \
  bert.types.out-of-range bert.head.transform bert.head.norm bert.gelu bert.small-variance bert.embedding-norm \
  bert.overflow bert.batch.ragged bert.encode.pooled bert.encode.ragged.hidden bert.fill.one bert.fill.several \
  bert.fill.ties.twins bert.fill.without-mask bert.state.after-longest bert.state.after-refused \
  bert.refuses.generate-text bert.refuses.ids bert.refuses.empty-row bert.refuses.too-long
freeze quick/transformer --requires Transformer,load_model --match \
  transformer.format.three-keys transformer.format.refused transformer.format.foreign-keys transformer.format.positions \
  transformer.format.weights transformer.plain transformer.source.last-token transformer.source.order transformer.causal \
  transformer.sinusoid transformer.sinusoid.far transformer.scale transformer.deep-decoder transformer.norms \
  transformer.small-variance transformer.cross transformer.overflow transformer.batch.ragged transformer.batch.ragged-sources \
  transformer.generate.plain transformer.generate.ties.twins transformer.generate.to-the-end transformer.text.echo \
  transformer.text.counts transformer.text.start.named transformer.text.end transformer.text.source-too-long \
  transformer.cache.uneven-pieces transformer.cache.fork transformer.state.after-longest transformer.state.after-refused \
  transformer.refuses.without-source transformer.refuses.sources transformer.score transformer.logprobs
