"""A CLIP tokenizer whose vocabulary is learned from captions, so that every word they use is one token.

The merges are learned here, because the trainer of `tokenizers` breaks ties by hash order. The same captions would give
other token numbers in each run, and the shipped model could not be reproduced.
"""

import re
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

BEGIN, END = "<|startoftext|>", "<|endoftext|>"
LAST = "</w>"  # marks the last letter of a word, as in CLIP

Word = tuple[str, ...]


def train_tokenizer(texts: Iterable[str], length: int) -> Any:
    """A `CLIPTokenizer` of `length` tokens that knows every word of `texts`; others fall apart into bytes."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    merges = learn_merges(word for text in sorted(set(texts)) for word in re.findall(r"[a-z]+|[0-9]|[^\sa-z0-9]+", text))
    pieces = [BEGIN, END]
    for letter in sorted(ByteLevel.alphabet()):
        pieces += [letter, letter + LAST]
    pieces += ["".join(merge) for merge in merges]
    vocab = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=length)


def learn_merges(words: Iterable[str]) -> list[tuple[str, str]]:
    """Byte-pair merges until every word is whole (Sennrich et al., 2016, arXiv:1508.07909); ties go to the alphabet."""
    counts = Counter(words)
    split: dict[Word, int] = {(*word[:-1], word[-1] + LAST): count for word, count in counts.items()}
    merges: list[tuple[str, str]] = []
    while True:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, count in split.items():
            for pair in pairwise(word):
                pairs[pair] += count
        if not pairs:
            return merges
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        split = {_merge(word, best): count for word, count in split.items()}


def _merge(word: Word, pair: tuple[str, str]) -> Word:
    joined: list[str] = []
    for piece in word:
        if joined and (joined[-1], piece) == pair:
            joined[-1] += piece
        else:
            joined.append(piece)
    return tuple(joined)
