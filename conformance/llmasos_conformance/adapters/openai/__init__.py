"""Serves the model of any Python adapter behind an API like OpenAI's.

    python -m llmasos_conformance.adapters.host ADDRESS --openai [HOST:]PORT --bundle DIR

    wanted   a request, judged: what is asked for, or why it is refused
    model    what the API needs of a model, and a bundle behind an adapter as one
    api      requests to replies, without HTTP
    http     HTTP

Every step of `api` is a method of its own, so that a server that errs in one of them is a subclass.
"""
