"""Entry point of all stages for dvc.yaml: `python -m dcube.stages STAGE [WORDS…]`."""

import sys

from dcube.stages import forkserver

if __name__ == "__main__":
    if forkserver.is_usable():
        sys.exit(forkserver.run(sys.argv[1:]))
    from dcube.stages.command import main

    main(*sys.argv[1:])
