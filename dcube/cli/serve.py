"""`dcube serve`: a registered model over HTTP."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from dcube.cli.predict import Reference, fetch_version

Host = Annotated[str, typer.Option(help="Address to listen on. The server asks nobody for a password.")]
Port = Annotated[int, typer.Option(min=1, max=65535)]


def serve(model: Reference, host: Host = "127.0.0.1", port: Port = 5001) -> None:
    """Serve a registered model over HTTP, once it is verified. No code of the version is run, only this program's."""
    import uvicorn

    from dcube.classifier.candidate import load_candidate
    from dcube.config.schema import Compute
    from dcube.engine.device import choose_device
    from dcube.inference.endpoint import application
    from dcube.inference.serving import ServedModel

    with TemporaryDirectory(prefix="dcube-model-") as folder:
        fetched = fetch_version(model, Path(folder))
        candidate = load_candidate(fetched.folder, choose_device(Compute()))
    served = ServedModel.of(candidate, fetched.identity, fetched.policy)
    print(f"{fetched.title}: http://{host}:{port}/invocations", flush=True)
    uvicorn.run(application(served), host=host, port=port, log_level="warning")
