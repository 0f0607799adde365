"""The conformance suite and certification harness of LLMasOS.

From a vendor's command to a signed report, in the order of the way: `plugin` and `cli` (where a run begins), `suite`
(what is asked), `adapters` and `wire` (whom), `engine` (one case against one candidate), `checks` with `inputs`,
`probes` and `numerics` (the question and its judge), `evidence`, `report`, `signing` and `policy` (what a stranger
can check).
"""

__version__ = "0.1.0"
