"""The steps in the order in which they depend on each other."""

from . import build_vector, erase, evaluate, finetune, invert, make_images, prepare_data, pretrain, search_strength
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
