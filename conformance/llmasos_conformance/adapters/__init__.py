"""An address leads to a connected candidate.

name                    entry point of the group `llmasos.adapters`, or built in: reference, transformers
name:argument           the same, made with one text: reference:float32/split-k
pkg.mod:attr            an importable object
./file.py:attr          an object in a file
cmd:./program --flag    a process that speaks the protocol (see `wire`)
http://host:port/path   a server that speaks it; #token=VARIABLE behind it names what holds its bearer token
openai:http://host:port/v1#model=NAME&token=VARIABLE
                        a server with an API like OpenAI's, whose model nobody loads; `address.Endpoint` has the options
@profile                `adapter` of [profiles.NAME] in llmasos.toml or [tool.llmasos.profiles.NAME] in pyproject.toml;
                        `profile` there is what is asked where no command line names one
"""

from llmasos_conformance.adapters.address import (
    Target,
    check_address,
    default_address,
    known,
    named_profile,
    profiles_in,
)
from llmasos_conformance.adapters.connecting import connect

__all__ = ["Target", "check_address", "connect", "default_address", "known", "named_profile", "profiles_in"]
