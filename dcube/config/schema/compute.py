"""Parameters of the hardware."""

from typing import Literal

from pydantic import Field, StrictBool

from dcube.config.schema.group import Group


class Compute(Group):
    """Device, precision and processes."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: a GPU if there is one.")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="Precision of matrix products in training. auto: bfloat16 if the hardware supports it.",
    )
    processes: int = Field(
        1,
        ge=1,
        le=64,
        description=(
            "Processes that train together on this machine, one for each GPU (without GPUs they share the cores). "
            "They divide every batch equally."
        ),
    )
    compile: StrictBool = Field(False, description="Use torch.compile: worth it for long runs on a GPU.")

    def defining(self) -> dict:
        """Return the values that affect the result of a training: all but the number of processes."""
        return self.model_dump(exclude={"processes"})
