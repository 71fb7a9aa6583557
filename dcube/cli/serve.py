"""`dcube serve`: a registered model over HTTP."""

from typing import Annotated

import typer

from dcube.cli.predict import Reference
from dcube.cli.terminal import quiet_mlflow

Host = Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on. Requests are not authenticated.")]
Port = Annotated[int, typer.Option(min=1, max=65535)]


def serve(model: Reference, host: Host = "127.0.0.1", port: Port = 5001) -> None:
    """Verify a registered model and serve it over HTTP. Runs this program's code, never code of the version."""
    import uvicorn

    from dcube import api
    from dcube.inference.endpoint import application

    quiet_mlflow()
    version = api.load(model)
    print(f"{version.title}: http://{host}:{port}/invocations", flush=True)
    uvicorn.run(application(version.served()), host=host, port=port, log_level="warning")
