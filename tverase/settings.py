"""The base of every settings record."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A frozen section of params.yaml; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)
