"""Does a subscriber keep to what is promised of events? Fire at it what the world will, and look.

    report = await conformance.examine(target, effects)

*target* is an address (`HttpTarget`) or anything that takes a body and answers a status; *effects*
says what the subscriber made of one subject. `limner conformance URL` does it from a terminal.
"""

from adapters.kit.conformance.checks import Report, examine
from adapters.kit.conformance.targets import Effects, HttpTarget, Target, Unreachable, http_effects

__all__ = [
    "Effects",
    "HttpTarget",
    "Report",
    "Target",
    "Unreachable",
    "examine",
    "http_effects",
]
