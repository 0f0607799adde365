"""The adapter contract as JSON-RPC 2.0 messages, and the validators that every answer passes, in process as well.

One object per line, UTF-8, `\\n` at the end. A request has `jsonrpc`, `id`, `method` and `params`; its answer has the
same `id` and either `result` or `error`.

    tensor      {"dtype": "F64", "shape": [3, 260], "data": "…"}; dtype is F64, F32, F16 or BF16, data is base64 of the
                little-endian bytes, row-major
    logprobs    of one generated token: [{"id": 17, "logprob": -0.25}, …]; null stands for what no number can say
    perplexity  {"perplexity": 17.5, "tokens": 8}; null for an infinite one
    reply       of an API: {"status": 200, "type": "application/json", "body": "…"}, the body as it came
    segment     of a metric: a text, or a list of tokens; references are a list of segments for each hypothesis
    refusal     error -32000 with data {"refusal": a code of protocol.REFUSAL_CODES}
    exception   error -32000 with data {"raised": "ValueError"}
    non-answer  error -32000 with data {"malformed": true}: the host itself saw that the adapter's answer is none
    death       error -32000 with data {"died": true}: the adapter has ended its own process, and this is its last word

Frames carry tensors as they lie in memory. Who describes himself with `"frames": true` finds `"frames": true` in every
request, and may put `"frame": n` in the place of a tensor's `data`, and `"frames": [bytes of frame 0, of frame 1, …]`
beside `result`. Behind the line come exactly these bytes, without anything between. Each frame is named once. Who does
not offer frames never meets them.

`schemas/wire.schema.json` is the published form of the same rules; the tests hold the two together. What JSON Schema
cannot say is said here only: an integer is not written as 12.0, `data` has exactly the bytes that dtype and shape need,
an answer has as many rows, positions and texts as its question, and a line is at most MAX_LINE bytes.

Params are judged by structure alone (a text is a text, ids are integers). Their values may be wrong on purpose:
refusing them is what the candidate is asked for.
"""

from llmasos_conformance.wire.answers import Widths, check_answer, check_refusal
from llmasos_conformance.wire.descriptions import describe, parse_description
from llmasos_conformance.wire.lines import (
    FRAMES_TYPE,
    INVALID_PARAMS,
    INVALID_REQUEST,
    LINE_TYPE,
    MAX_FRAMES,
    MAX_LINE,
    NO_METHOD,
    REFUSED,
    Message,
    error_line,
    frame_lengths,
    offers_frames,
    parse_line,
    put_frames,
    quoted,
    request_line,
    result_line,
    result_message,
)
from llmasos_conformance.wire.questions import BESIDE, METHODS, OPTIONAL, PARAMS, check_params
from llmasos_conformance.wire.values import MAX_HANDLE, MAX_ITEMS, MAX_TENSORS, Bytes, decode_tensor, encode

__all__ = [
    "BESIDE", "FRAMES_TYPE", "INVALID_PARAMS", "INVALID_REQUEST", "LINE_TYPE", "MAX_FRAMES", "MAX_HANDLE", "MAX_ITEMS",
    "MAX_LINE", "MAX_TENSORS", "METHODS", "NO_METHOD", "OPTIONAL", "PARAMS", "REFUSED", "Bytes", "Message", "Widths",
    "check_answer", "check_params", "check_refusal", "decode_tensor", "describe", "encode", "error_line",
    "frame_lengths", "offers_frames", "parse_description", "parse_line", "put_frames", "quoted", "request_line",
    "result_line", "result_message",
]  # fmt: skip
