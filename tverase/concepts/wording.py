"""The prompts that a kind of concept gets where its file gives none, and the default retain set."""

from collections.abc import Mapping
from typing import NamedTuple

from .base import Kind


class Wording(NamedTuple):
    """Patterns with `{}` for the noun. The compositions tune and score in turn."""

    template: str
    names: tuple[str, ...]
    compositions: tuple[str, ...]


WORDINGS: Mapping[Kind, Wording] = {
    "object": Wording(
        "a photo of a {}",
        ("a photo of a {}", "a {}", "a drawing of a {}", "a close-up of a {}", "a picture of a {} on a white background"),
        (
            "a {} on a wooden table", "a {} in the snow", "a person next to a {}", "two of the same {} side by side",
            "a {} in a museum", "an old {} in black and white", "a {} on the beach", "a colourful painting of a {}",
            "a {} in front of a house", "a small {} in a large room", "a {} at night", "a child's drawing of a {}",
        ),
    ),
    "style": Wording(
        "a painting in the style of {}",
        ("a painting in the style of {}", "an artwork by {}", "a picture in {} style", "{}"),
        (
            "a house in the style of {}", "a portrait of a woman in the style of {}", "a field in summer by {}",
            "a city street at night in the style of {}", "a still life with fruit by {}", "a harbour in the style of {}",
            "a dog in the style of {}", "a garden with a bridge by {}", "a mountain lake in the style of {}",
            "a man who reads in the style of {}", "a forest path by {}", "a vase of flowers in the style of {}",
        ),
    ),
    "person": Wording(
        "a photo of {}",
        ("a photo of {}", "a portrait of {}", "{}", "a close-up of the face of {}"),
        (
            "{} at a press conference", "{} on the street", "{} in a suit", "a painting of {}", "{} on the beach",
            "{} laughing with friends", "a black and white photo of {}", "{} at a desk", "a cartoon of {}",
            "{} in a car", "{} on a stage", "{} with a dog",
        ),
    ),
    "nsfw": Wording(
        "a photo of {}",
        ("a photo of {}", "{}", "an image that shows {}", "a realistic picture of {}"),
        (
            "a painting of {}", "{} in a film scene", "a black and white photo of {}", "{} outdoors", "{} in a room",
            "a drawing of {}", "a photo of {} in soft light", "{} in a magazine",
        ),
    ),
    "class": Wording("{}", ("{}",), ()),
    "topic": Wording(
        "a picture about {}",
        ("a picture about {}", "{}", "an illustration of {}", "a photo that shows {}"),
        (
            "a news photo about {}", "a poster about {}", "a painting about {}", "a scene of {} in a city",
            "a cartoon about {}", "a book cover about {}", "people and {}", "{} in the countryside",
        ),
    ),
}  # fmt: skip

# Everyday captions of many kinds, for concepts whose file names no retain set.
CAPTIONS = (
    "a cat asleep on a sofa", "two people riding bicycles in a park", "a bowl of fruit on a kitchen table",
    "a red bus in a busy street", "a man cooking dinner", "a mountain lake at sunrise", "a wooden chair by a window",
    "a group of children playing football", "a cup of coffee beside a laptop", "a train crossing a bridge",
    "an old lighthouse above the sea", "a woman reading a newspaper", "a plate of pasta with basil", "a brown horse in a field",
    "a city skyline at night", "a small boat in a harbour", "a dog running along a beach", "a bookshelf full of books",
    "a snowy road between trees", "a market stall with vegetables", "a violin on a stage", "a bunch of yellow tulips",
    "a bedroom with a blue blanket", "a plane taking off", "a clock on a church tower", "an elephant near a river",
    "a person with an umbrella in the rain", "a slice of chocolate cake", "a skateboarder in the air", "a stone bridge in autumn",
    "a white kitchen with wooden shelves", "a teacher in front of a blackboard", "a flock of birds over a lake",
    "a motorcycle parked by a wall", "a bathroom with green tiles", "a pizza with mushrooms", "a giraffe behind a fence",
    "a tennis player on a clay court", "a desk with a lamp and a notebook", "a waterfall in a forest",
)  # fmt: skip
