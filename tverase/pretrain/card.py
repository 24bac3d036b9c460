"""The card and the notices that the embedded model carries in its folder, and so does every copy of it."""

import shutil
from pathlib import Path

NOTICE = Path(__file__).parents[2] / "NOTICE"  # of the repository, which has the sprites too

CARD = """---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-image
tags: ["emoji", "tverase"]
---

# emoji-sd

A small Stable Diffusion of 32-pixel emoji, trained by tverase as a base model for experiments with concept erasure.
The sprites that it was trained on are the work of others: Noto Emoji (Google, Apache-2.0) and Fluent Emoji (Microsoft,
MIT). The file NOTICE beside this card has their notices and licence texts; keep it with copies of this model.
docs/emoji-sd.md of tverase's repository says how the model was made and what was measured.
"""


def add_card(folder: Path) -> None:
    """Write the card and the notices into a pipeline folder."""
    (folder / "README.md").write_text(CARD, encoding="utf-8")
    if NOTICE.is_file():
        shutil.copyfile(NOTICE, folder / "NOTICE")
