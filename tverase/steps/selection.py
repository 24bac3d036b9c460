"""Which weights are edited: the vector, each group of parameters at its own strength."""

from ..context import Context
from ..inversion.sets import InversionSet
from ..selection.base import Selection
from ..selection.choose import Select, select
from ..trial import Inputs, ModelTrial, tuning_prompts
from ..vector import TaskVector


def select_weights(
    context: Context, vector: TaskVector, tune: InversionSet | None, settings: Select
) -> tuple[TaskVector, Selection]:
    """The vector of the selected weights, and how they were found. tune: embeddings that may change it; `search` needs them."""

    def trial() -> ModelTrial:
        inputs = Inputs.of(context.model, context.concepts, {"tune": tune} if tune else {}, context.invert)
        return ModelTrial(context, vector, inputs, tuning_prompts(context, "select"), "select")

    selection = select(vector, settings, trial, context.tell)
    selected = selection.scaled(vector)
    return selected if settings.how == "all" else selected.noting(selected=settings.layers or settings.how), selection
