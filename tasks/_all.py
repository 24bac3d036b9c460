"""The steps in the order in which they depend on each other."""

from . import (
    build_vector,
    digit_strength,
    digit_vectors,
    erase,
    evaluate,
    finetune,
    invert,
    make_images,
    prepare_data,
    pretrain,
    pretrain_digits,
    search_strength,
    unconditional_safety,
)
from ._step import Step

STEPS: tuple[Step, ...] = (
    prepare_data.STEP,
    pretrain.STEP,
    make_images.STEP,
    finetune.STEP,
    build_vector.STEP,
    invert.STEP,
    search_strength.STEP,
    erase.STEP,
    evaluate.STEP,
)
MAKE_THE_MODEL = ("prepare_data", "pretrain")  # skipped when a model is given

# The digit experiment: flows/unconditional_safety.py.
DIGIT_STEPS: tuple[Step, ...] = (
    pretrain_digits.STEP,
    digit_vectors.STEP,
    digit_strength.STEP,
    unconditional_safety.STEP,
)
