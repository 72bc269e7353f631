"""What a model that takes nothing but words is told in words: style, and what to leave out."""

from adapters.ports import PaintRequest
from adapters.providers.stability.wire import STYLES as NAMED_STYLES

# The same names as elsewhere, so that a request may change its provider.
STYLES = NAMED_STYLES


def in_words(request: PaintRequest, *, negative: bool = True) -> str:
    """The prompt with everything that has no parameter of its own.

    Without *negative* what to leave out is not said: the model takes it by itself.
    """
    said = [request.prompt]
    if request.source is not None:
        said.append("Keep the composition of the given picture.")
    if request.style:
        said.append(f"Style: {request.style}.")
    if negative and request.negative_prompt:
        said.append(f"Leave out of the picture: {request.negative_prompt}.")
    return "\n\n".join(said)
