"""Entry point of all stages for dvc.yaml: `python -m dcube.stages STAGE [WORDS…]`."""

import sys

from dcube.stages.process import forkserver

if __name__ == "__main__":
    if connection := forkserver.connect():
        sys.exit(forkserver.run(sys.argv[1:], connection))
    from dcube.stages.process.command import main

    main(*sys.argv[1:])
