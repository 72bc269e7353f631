"""How much of its draft a final has kept: two figures, and the verdict that is drawn from them."""

from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict

# Measured, hash distance and SSIM. The same composition: finals that sketch made of 20 drafts had
# at most 4 and at least 0.91; photographs that were smoothed, repainted, made noisy, toned or bent
# by some pixels at most 10 in 53 of 55 cases, and at least 0.38. Another one: drafts of another
# seed had at least 14 and at most 0.86; of another prompt 18 and 0.83; other photographs 22 and
# 0.70; a photograph mirrored, cut or moved 14 and 0.87. So the hash tells them apart; SSIM, which
# fine texture lowers, only bars what has nothing in common but its distribution of light.
MOST_DISTANCE = 10
LEAST_SSIM = 0.35


class Verdict(StrEnum):
    SAME_COMPOSITION = "same_composition"
    DIFFERS = "differs"


class Fidelity(BaseModel):
    """A final held against its draft, both in grey, at the draft's size."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    ssim: float
    """Mean structural similarity: 1 for the same picture, 0 for unrelated ones."""
    hash_distance: int
    """In how many of 64 bits the perceptual hashes differ: 0 for the same, about 30 for others."""
    verdict: Verdict
    """`differs` when the final has become another picture: look at it before it is published."""

    @classmethod
    def judged(cls, ssim: float, hash_distance: int) -> Self:
        kept = hash_distance <= MOST_DISTANCE and ssim >= LEAST_SSIM
        verdict = Verdict.SAME_COMPOSITION if kept else Verdict.DIFFERS
        return cls(ssim=round(ssim, 4), hash_distance=hash_distance, verdict=verdict)
