"""How a picture came to be, as its file tells everybody: without it nobody sees that a machine
made it."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

# Of the program, in every picture that it hands out.
CREATOR_TOOL = "Limner"


class SourceType(StrEnum):
    """What IPTC calls it: https://cv.iptc.org/newscodes/digitalsourcetype/."""

    TRAINED = "trainedAlgorithmicMedia"
    ALGORITHMIC = "algorithmicMedia"
    PARTLY_TRAINED = "compositeWithTrainedAlgorithmicMedia"
    PARTLY_ALGORITHMIC = "compositeSynthetic"

    @property
    def in_part(self) -> "SourceType":
        """Of a picture that is this in part, and was taken or drawn by somebody for the rest."""
        return {
            SourceType.TRAINED: SourceType.PARTLY_TRAINED,
            SourceType.ALGORITHMIC: SourceType.PARTLY_ALGORITHMIC,
        }.get(self, self)


@dataclass(frozen=True, slots=True)
class Provenance:
    """No prompt, nobody's name and no time: the same picture always tells the same."""

    source_type: SourceType
    provider: str
    model: str
    image_id: UUID
