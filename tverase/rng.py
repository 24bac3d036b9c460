"""The only place where randomness begins."""

import hashlib

import torch


def derive(seed: int, purpose: str) -> int:
    """A 63-bit seed for one purpose, so that two purposes never share a stream."""
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def generator(seed: int, purpose: str) -> torch.Generator:
    """A CPU generator for `purpose` ("invert/tune"), the same on every machine."""
    return torch.Generator().manual_seed(derive(seed, purpose))


def pick(count: int, among: int, rng: torch.Generator) -> torch.Tensor:
    """`count` indices below `among`, with replacement, as a long tensor (count,)."""
    return torch.randint(among, (count,), generator=rng)
