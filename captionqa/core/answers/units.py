"""Units of measurement: what they measure, and how many of the base unit they are.

In: a unit as written («cm^2», «km/h», «hours», «apples»). Out: a `Unit` or None. Words that are no unit of measurement
are units of their own («5 apples» are not «5 pears»). Factors are exact: the international inch, pound and mile.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Unit:
    """``factor`` base units of the dimensions, each a name with its power."""

    factor: Fraction
    dimensions: frozenset[tuple[str, int]]

    @property
    def empty(self) -> bool:
        return not self.dimensions and self.factor == 1


NO_UNIT = Unit(Fraction(1), frozenset())
PERCENT = Unit(Fraction(1, 100), frozenset({("percent", 1)}))
DEGREE = Unit(Fraction(1, 180), frozenset({("angle", 1)}))
"""Angles in multiples of π, so that 60° and π/3 are exactly the same."""

_PREFIXES = {
    "T": 12, "G": 9, "M": 6, "k": 3, "h": 2, "d": -1, "c": -2, "m": -3, "µ": -6, "μ": -6, "u": -6, "n": -9, "p": -12,
}  # fmt: skip
_PREFIX_WORDS = {"kilo": 3, "mega": 6, "giga": 9, "deci": -1, "centi": -2, "milli": -3, "micro": -6, "nano": -9}
_METRIC = {
    "m": ("length", 0), "g": ("mass", 0), "s": ("time", 0), "L": ("volume", -3), "l": ("volume", -3), "W": ("power", 0),
    "J": ("energy", 0), "N": ("force", 0), "Pa": ("pressure", 0), "V": ("voltage", 0), "Hz": ("frequency", 0),
    "F": ("capacitance", 0), "mol": ("amount", 0), "Ω": ("resistance", 0), "eV": ("eV", 0), "A": ("current", 0),
    "C": ("charge", 0), "K": ("kelvin", 0), "T": ("field", 0), "cal": ("cal", 0), "b": ("bit", 0), "B": ("byte", 0),
}  # fmt: skip
_METRIC_WORDS = {
    "meter": "m", "metre": "m", "gram": "g", "second": "s", "liter": "L", "litre": "L", "watt": "W", "joule": "J",
    "newton": "N", "pascal": "Pa", "volt": "V", "hertz": "Hz", "farad": "F", "mole": "mol", "ohm": "Ω", "ampere": "A",
    "amp": "A", "coulomb": "C", "kelvin": "K", "tesla": "T", "calorie": "cal", "byte": "B", "bit": "b",
}  # fmt: skip
_OTHERS: dict[str, tuple[str, Fraction]] = {
    name: (dimension, Fraction(factor))
    for names, dimension, factor in (
        ("min minute 分钟", "time", "60"),
        ("sec 秒", "time", "1"),
        ("h hr hour 小时", "time", "3600"),
        ("day d 天", "time", "86400"),
        ("week", "time", "604800"),
        ("month", "months", "1"),
        ("year yr 年", "months", "12"),
        ("in inch inche", "length", "0.0254"),
        ("ft foot feet", "length", "0.3048"),
        ("yd yard", "length", "0.9144"),
        ("mi mile", "length", "1609.344"),
        ("米", "length", "1"),
        ("厘米", "length", "0.01"),
        ("千米 公里", "length", "1000"),
        ("毫米", "length", "0.001"),
        ("lb pound", "mass", "453.59237"),
        ("oz ounce", "mass", "28.349523125"),
        ("t ton tonne", "mass", "1000000"),
        ("千克 公斤", "mass", "1000"),
        ("克", "mass", "1"),
        ("dollar", "dollars", "1"),
        ("cent", "dollars", "0.01"),
        ("元 yuan", "yuan", "1"),
        ("吨", "mass", "1000000"),
        ("degC celsius", "celsius", "1"),
        ("degF fahrenheit", "fahrenheit", "1"),
        ("rad radian", "radian", "1"),
    )
    for name in names.split()
}
# Dimensions in others: areas and volumes have names of their own too.
_NAMED = {"ha": (Fraction(10_000), (("length", 2),)), "hectare": (Fraction(10_000), (("length", 2),))}
_WHOLE = {"mph": "mile/hour", "kph": "km/hour", "kmh": "km/hour", "fps": "ft/s"}
_SINGULAR = {"feet": "foot", "people": "person", "children": "child", "inches": "inch"}
_TERM = re.compile(r"(?P<name>[^\W\d_]+|[°Ω][CF]?)(?:\^?\{?(?P<power>-?[1-9])\}?)?")
_POWER_WORDS = {"square": 2, "squared": 2, "sq": 2, "cubic": 3, "cubed": 3}


def parse_unit(text: str) -> Unit | None:
    """«km/h», «m s^-1», «square feet», «cm2», «apples»; None when the text cannot be a unit."""
    text = _WHOLE.get(text.strip(), text.strip()).replace(" per ", "/").replace("degrees ", "deg")
    text = re.sub(r"(?<=[A-Za-z])\.(?=$|\s)", "", text)
    if not text:
        return NO_UNIT
    factor = Fraction(1)
    dimensions: dict[str, int] = {}
    for number, side in enumerate(text.split("/")):
        terms = _terms(side)
        if terms is None or number > 2:
            return None
        for name, power in terms:
            scale, parts = _named(name)
            power = power if number == 0 else -power
            factor *= scale**power
            for dimension, exponent in parts:
                dimensions[dimension] = dimensions.get(dimension, 0) + exponent * power
    return Unit(factor, frozenset((name, power) for name, power in dimensions.items() if power))


def known(text: str) -> bool:
    """Whether this is a unit of measurement and no mere word."""
    terms = [term for side in _WHOLE.get(text, text).split("/") for term in _terms(side) or [("?", 1)]]
    return all(name in ("°", "°C", "°F") or _measure(name) is not None or name in _NAMED for name, _ in terms)


def _terms(side: str) -> list[tuple[str, int]] | None:
    """Names with their powers; None when something else is between them."""
    found: list[tuple[str, int]] = []
    pending = 1
    for word in re.split(r"[\s*]+", side.strip()):
        if word.lower() in _POWER_WORDS:
            power = _POWER_WORDS[word.lower()]
            if word.lower().endswith("d") and found:
                found[-1] = (found[-1][0], power)
            else:
                pending = power
            continue
        match = _TERM.fullmatch(word)
        if match is None:
            return None
        found.append((match["name"], int(match["power"] or 1) * pending))
        pending = 1
    return found or None


def _named(name: str) -> tuple[Fraction, tuple[tuple[str, int], ...]]:
    if name in ("unit", "units"):
        return Fraction(1), ()
    if name == "°":
        return DEGREE.factor, (("angle", 1),)
    if name in ("°C", "°F"):
        name = "degC" if name == "°C" else "degF"
    if name in _NAMED:
        return _NAMED[name]
    measure = _measure(name)
    if measure is not None:
        dimension, factor = measure
        return (factor, (("length", 3),)) if dimension == "volume" else (factor, ((dimension, 1),))
    return Fraction(1), ((next(_singulars(name.casefold())), 1),)


def _singulars(name: str) -> Iterator[str]:
    yield _SINGULAR.get(name) or (name[:-1] if len(name) > 3 and name.endswith("s") else name)


def _measure(name: str) -> tuple[str, Fraction] | None:
    """Dimension and factor of a unit of measurement. Symbols keep their case (mW, MW); words do not."""
    for prefix, power in (("", 0), *_PREFIXES.items()):
        base = _METRIC.get(name[len(prefix) :]) if name.startswith(prefix) else None
        if base is not None and (name not in _OTHERS or not prefix):
            return base[0], Fraction(10) ** (base[1] + power)
    if name in _OTHERS:
        return _OTHERS[name]
    word = next(_singulars(name.casefold()))
    if len(name) > 2 and word in _OTHERS:
        return _OTHERS[word]
    if len(name) > 1 and name.lower() in ("km", "cm", "mm", "kg", "mg", "ml", "hz", "kwh") and name != name.lower():
        return _measure(name.lower())
    for prefix, power in (("", 0), *_PREFIX_WORDS.items()):
        stem = word.removeprefix(prefix)
        if word.startswith(prefix) and stem in _METRIC_WORDS:
            dimension, own = _METRIC[_METRIC_WORDS[stem]]
            return dimension, Fraction(10) ** (own + power)
    return None
