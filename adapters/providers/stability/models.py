"""Which model paints a quality, and which parameters it takes.

The document names models that the service has given up; both names are recorded with each job
(`requested_model`, `resolved_model`), and what the resolved one does not take is named in warnings.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from schemas.prices import SDXL
from schemas.requests import Quality, Strategy


class Profile(StrEnum):
    V2BETA = "v2beta"
    LEGACY_V1 = "legacy-v1"


class Wire(StrEnum):
    """The form in which a model is asked."""

    CORE = "core"
    ULTRA = "ultra"
    SD3 = "sd3"
    V1 = "v1"


@dataclass(frozen=True, slots=True)
class Model:
    name: str
    wire: Wire
    of_picture: bool = False
    """Whether it takes a picture to begin with."""

    @property
    def takes_cfg_scale(self) -> bool:
        return self.wire in {Wire.SD3, Wire.V1}

    @property
    def most_steps(self) -> int | None:
        """None where the model takes no steps."""
        return 50 if self.wire is Wire.V1 else None


_ALL = (
    Model("core", Wire.CORE),
    Model("ultra", Wire.ULTRA, of_picture=True),
    Model("sd3.5-large", Wire.SD3, of_picture=True),
    Model("sd3.5-large-turbo", Wire.SD3, of_picture=True),
    Model("sd3.5-medium", Wire.SD3, of_picture=True),
    Model("sd3.5-flash", Wire.SD3, of_picture=True),
    Model(SDXL, Wire.V1, of_picture=True),
)
MODELS: Mapping[str, Model] = {model.name: model for model in _ALL}

MODEL_OF_QUALITY: Mapping[Profile, Mapping[Quality, str]] = {
    Profile.V2BETA: {
        Quality.DRAFT: "sd3.5-flash",
        Quality.STANDARD: "core",
        Quality.HIGH: "sd3.5-large-turbo",
        Quality.ULTRA: "sd3.5-large",
    },
    Profile.LEGACY_V1: {
        Quality.DRAFT: "sd3.5-flash",
        Quality.STANDARD: SDXL,
        Quality.HIGH: SDXL,
        Quality.ULTRA: "sd3.5-large",
    },
}
# Who paints from a picture in the place of a model that cannot: the nearest in price.
FROM_PICTURE = {"core": "sd3.5-medium"}


@dataclass(frozen=True, slots=True)
class Parameters:
    """What the document asks of its models."""

    steps: int
    cfg_scale: float


PARAMETERS: Mapping[Quality, Parameters] = {
    Quality.DRAFT: Parameters(20, 5.0),
    Quality.STANDARD: Parameters(30, 7.0),
    Quality.HIGH: Parameters(50, 7.0),
    Quality.ULTRA: Parameters(60, 7.0),
}


@dataclass(frozen=True, slots=True)
class Resolved:
    """The model that is asked, with the parameters that it takes."""

    model: Model
    steps: int | None
    cfg_scale: float | None
    warnings: tuple[str, ...]


def resolve(
    quality: Quality, strategy: Strategy, profile: Profile, own: Mapping[Quality, str]
) -> Resolved:
    """The model for *quality*: that of *own*, else the profile's."""
    warnings = []
    name = own.get(quality) or MODEL_OF_QUALITY[profile][quality]
    model = MODELS[name]
    if strategy is Strategy.IMAGE_TO_IMAGE and not model.of_picture:
        model = MODELS[FROM_PICTURE[name]]
        warnings.append(f"{name} does not paint from a picture; {model.name} does it in its place")
    asked = PARAMETERS[quality]
    steps = None
    if model.most_steps is None:
        warnings.append(f"{model.name} takes no steps ({asked.steps} for {quality.value})")
    else:
        steps = min(asked.steps, model.most_steps)
        if steps < asked.steps:
            warnings.append(f"{model.name} takes at most {steps} steps, not {asked.steps}")
    cfg_scale = asked.cfg_scale if model.takes_cfg_scale else None
    if cfg_scale is None:
        warnings.append(f"{model.name} takes no cfg_scale ({asked.cfg_scale:g})")
    return Resolved(model, steps, cfg_scale, tuple(warnings))
