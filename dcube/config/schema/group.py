"""Base class of the parameter groups, and types with the bounds that several groups share."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from dcube.config.schema import json_schema

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]
Rate = Annotated[float, Field(gt=0.0, le=1.0)]
Weight = Annotated[float, Field(ge=0.0, le=10_000.0)]
Decay = Annotated[float, Field(ge=0.0, le=1.0)]
Timestep = Annotated[int, Field(ge=0, lt=10_000)]
# On a large data set, a small budget of steps is a fraction of an epoch. Whole numbers are written as integers.
Epochs = Annotated[float, Field(gt=0.0, le=1_000_000.0), PlainSerializer(lambda n: int(n) if n == int(n) else n)]
GradientClip = Annotated[float, Field(gt=0.0, le=1e6, description="Maximum norm of the gradient.")]
EmaDecay = Annotated[
    float, Field(ge=0.0, lt=1.0, description="Decay of the moving average of the weights, after its warm-up.")
]
SamplingSteps = Annotated[int, Field(ge=2, le=1000, description="DPM-Solver++ steps per image.")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Group(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        protected_namespaces=(),
        field_title_generator=json_schema.title,
        json_schema_extra=json_schema.arrange,
    )
