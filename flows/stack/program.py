"""Wrapper with which supervisord runs a server: `python -m flows.stack.program NAME`.

supervisord ends only its own child. A worker of MLflow would then keep the port, and a flow run in its own session
would continue. This wrapper ends all processes that a server has started, before the server is started again.
"""

import signal
import sys
from pathlib import Path

from dcube.runtime.processes import child_environment, process_group
from flows.stack.programs import PROGRAMS, Programs


def main(name: str) -> int:
    program = Programs.load(Path(PROGRAMS)).programs[name]
    with process_group(program.args, env=child_environment(program.env), cwd=program.cwd) as process:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: process.send_signal(number))
        code = process.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
