"""A server as supervisord runs it: `python -m flows.stack.program NAME`.

supervisord knows its own child alone. When that ends, a worker of MLflow keeps the port, and a flow run goes on in a
session of its own: here whatever a server has started ends with it, and before it is started again.
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
