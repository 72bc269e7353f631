"""What the words of a prompt ask for; without it every prompt would get the same scene."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from adapters.providers.sketch.noise import stream
from adapters.providers.sketch.words import SCENES, WORDS

EXPOSED = frozenset({"sun", "moon", "stars", "milkyway", "aurora"})
_DARK = ("night", "neon")


@dataclass(frozen=True, slots=True)
class Brief:
    """What to paint: one value each for light, land and water, and the elements present."""

    time: str
    land: str
    water: str
    elements: frozenset[str]

    def has(self, element: str) -> bool:
        return element in self.elements

    @property
    def is_dark(self) -> bool:
        return self.time in _DARK

    @property
    def palette(self) -> str:
        if self.time in ("day", "dawn", "golden") and self.has("storm"):
            return "storm"
        if self.time in ("day", "dawn") and (self.has("overcast") or self.has("rain")):
            return "overcast"
        return self.time


def _found(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each known word of *text*, in its plain form, and what it asks for."""
    for word in re.findall(r"[a-z]+", text.lower()):
        for plain in (word, *(word.removesuffix(ending) for ending in ("s", "es", "ing"))):
            if plain in WORDS:
                yield plain, WORDS[plain].split()
                break


def _read(text: str) -> tuple[dict[str, str], set[str]]:
    firm: dict[str, str] = {}
    weak: dict[str, str] = {}
    elements: set[str] = set()
    for effect in (effect for _, effects in _found(text) for effect in effects):
        name, equals, value = effect.partition("=")
        if not equals:
            elements.add(name)
        elif value.endswith("?"):
            weak.setdefault(name, value[:-1])
        else:
            firm.setdefault(name, value)
    return weak | firm, elements


def read(prompt: str, negative_prompt: str, key: str) -> Brief:
    """Turn words into a brief; what they leave open is drawn from *key*."""
    rng = stream(key, "brief")
    chance = {
        name: float(rng.random())
        for name in ("scene", "time", "clouds", "birds", "water", "moon", "land", "stars")
    }
    values, elements = _read(prompt)
    if not values.keys() & {"land", "water"}:
        scene, extras = _read(SCENES[int(chance["scene"] * len(SCENES))])
        if not elements & {"cabin", "windmill", "balloons"}:
            elements |= extras if "time" not in values else extras - EXPOSED
            values = scene | values
    if elements & {"storm", "rain", "overcast"}:
        values.setdefault("time", ("day", "day", "dusk")[int(chance["time"] * 3)])
    if "fog" in elements:
        values.setdefault("time", ("dawn", "dawn", "golden")[int(chance["time"] * 3)])
    values.setdefault("time", ("dawn", "day", "golden", "sunset", "dusk")[int(chance["time"] * 5)])
    if "land" not in values:
        far = (
            ("none", "hills", "mountains")
            if values.get("water") == "sea"
            else ("hills",) * 2 + ("mountains",)
        )
        values["land"] = far[int(chance["land"] * 3)]
    if "water" not in values:
        odds = {"mountains": 0.45, "city": 0.85}.get(values["land"], 0.0)
        if values["land"] == "city" and "rain" in elements:
            odds = 1.0  # wet streets shine
        wet = chance["water"] < odds
        values["water"] = "lake" if wet else "none"
    brief = Brief(values["time"], values["land"], values["water"], frozenset(elements))
    unwanted, gone = _unwanted(negative_prompt)
    brief = _completed(_replaced(brief, unwanted), chance)
    return replace(brief, elements=brief.elements - gone)


def _completed(brief: Brief, chance: dict[str, float]) -> Brief:
    """Add what such a scene usually has: a sun or moon, some clouds, perhaps birds."""
    elements = set(brief.elements)
    covered = bool(elements & {"overcast", "storm", "rain"})
    if brief.is_dark:
        elements.discard("sun")
        if brief.time == "night" and not covered:
            elements.add("stars")
            if chance["moon"] < (0.25 if elements & {"aurora", "milkyway", "stars"} else 0.7):
                elements.add("moon")
            elif not elements & {"aurora", "moon"}:
                elements.add("milkyway")
    else:
        elements -= {"milkyway"}
        if not covered and brief.time != "dusk":
            elements.add("sun")
        if brief.time == "dusk" and chance["stars"] < 0.6 and not covered:
            elements |= {"stars", "moon"}
        if chance["birds"] < 0.35 and not covered:
            elements.add("birds")
    if chance["clouds"] < (0.35 if elements & {"aurora", "milkyway"} else 0.8):
        elements.add("clouds")
    if "rain" in elements and "snow" in elements:
        elements -= {"rain"}
    return replace(brief, elements=frozenset(elements))


def _unwanted(negative_prompt: str) -> tuple[set[tuple[str, str]], set[str]]:
    """The values and the elements to leave out.

    A word that names an element means that alone: "lighthouse" does not mean the sea as well.
    """
    values: set[tuple[str, str]] = set()
    gone: set[str] = set()
    for word, effects in _found(negative_prompt):
        elements = {effect for effect in effects if "=" not in effect}
        own = {e for e in elements if word.removesuffix("y") in (e, e.removesuffix("s"))}
        gone |= own or elements
        if not own:
            pairs = (effect.partition("=") for effect in effects if "=" in effect)
            values |= {(name, value) for name, _, value in pairs}
    if "storm" in gone:
        gone.add("rain")
    return values, gone


def _replaced(brief: Brief, unwanted: set[tuple[str, str]]) -> Brief:
    if ("time", brief.time) in unwanted:
        brief = replace(brief, time="day" if brief.time != "day" else "golden")
    if ("water", brief.water) in unwanted:
        brief = replace(brief, water="none")
    if ("land", brief.land) in unwanted:
        spare = (
            "none" if brief.water != "none" else "hills" if brief.land != "hills" else "mountains"
        )
        brief = replace(brief, land=spare)
    if (brief.land, brief.water) == ("none", "none"):
        brief = replace(brief, land="hills")
    return brief
