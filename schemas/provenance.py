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

    def over(self, kept: "SourceType | None", *, sent: bool) -> "SourceType":
        """What a picture is that was made so and keeps something of one that is *kept*.

        *sent* says that a part of it was taken or drawn by somebody.
        """
        if {self, kept} & {SourceType.TRAINED, SourceType.PARTLY_TRAINED}:
            return SourceType.PARTLY_TRAINED if sent else SourceType.TRAINED
        return SourceType.PARTLY_ALGORITHMIC if sent else SourceType.ALGORITHMIC


@dataclass(frozen=True, slots=True)
class Provenance:
    """No prompt, nobody's name and no time: the same picture always tells the same."""

    source_type: SourceType
    provider: str
    model: str
    image_id: UUID
