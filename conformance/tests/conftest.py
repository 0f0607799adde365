"""What tests of several rooms need: Python adapters as servers, and commands in this process."""

import subprocess
import sys

import pytest

from llmasos_conformance.adapters.connecting import HOST


@pytest.fixture(scope="session")
def serve():
    """Serves an adapter on a free port; returns its URL, and keeps the process as `serve.processes[URL]`."""

    def start(address, *options, port=0, env=None):
        command = [sys.executable, "-I", str(HOST), address, "--http", str(port), *options]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=env)
        every.append(process)
        said = []
        for line in process.stderr:
            said.append(line.decode())
            if said[-1].startswith("serving at "):
                url = said[-1].split()[2]
                start.processes[url] = process
                return url
        raise AssertionError("".join(said))

    every, start.processes = [], {}
    yield start
    for process in every:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.fixture
def llmasos(capsys):
    """Run a command in this process: exit code, standard output, standard error."""

    from llmasos_conformance import cli

    def call(*words):
        code = cli.run([str(word) for word in words])
        return code, *capsys.readouterr()

    return call
