"""The base of every settings record."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

NO_NUMBER = PydanticCustomError("truth_value", "expected a number, not true or false")


class Settings(BaseModel):
    """A frozen section of params.yaml; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)

    @model_validator(mode="wrap")
    @classmethod
    def _true_is_no_number(cls, given: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """`steps: true` is refused, where pydantic takes it for 1."""
        made = handler(given)
        fields = cls.model_fields.items() if isinstance(given, dict) else ()
        values = {field.alias or name: getattr(made, name) for name, field in fields}
        wrong: list[InitErrorDetails] = [
            {"type": NO_NUMBER, "loc": (key,), "input": given[key]}
            for key, value in values.items()
            if _became_a_number(given.get(key), value)
        ]
        if wrong:
            raise ValidationError.from_exception_data(cls.__name__, wrong)
        return made


def _became_a_number(given: Any, made: Any) -> bool:
    """Whether a truth value has become a number, in a list as well."""
    if isinstance(given, bool):
        return not isinstance(made, bool) and isinstance(made, int | float)
    lists = isinstance(given, list | tuple) and isinstance(made, list | tuple) and len(given) == len(made)
    return lists and any(_became_a_number(*pair) for pair in zip(given, made, strict=True))
