"""What every group of parameters is, and the bounds that several share."""

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
# A fraction fits a budget of steps to a large data set; a whole number stays one in params.yaml.
Epochs = Annotated[float, Field(gt=0.0, le=1_000_000.0), PlainSerializer(lambda n: int(n) if n == int(n) else n)]


class Group(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        protected_namespaces=(),
        field_title_generator=json_schema.title,
        json_schema_extra=json_schema.arrange,
    )
