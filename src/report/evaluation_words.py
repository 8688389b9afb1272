"""What the figures of an evaluation are called on its page, and which way is better."""

from __future__ import annotations

from typing import Any, NamedTuple

from faceforward.report.readings import short

NOTHING = "\N{EN DASH}"


class Words(NamedTuple):
    """How a figure is shown.

    Attributes:
        label: Its name in words.
        better: `lower`, `higher`, `zero`, or empty where neither is better.
        digits: After the point.
        percent: Shown as a percentage.
    """

    label: str
    better: str = ""
    digits: int = 2
    percent: bool = False


AGE = {
    "calibrated_mae": Words("error of the age, calibrated, years", "lower", 1),
    "floor": Words("the same on real photographs of these ages (the best there can be), years", "", 1),
    "calibrated_bias": Words("shift of the age, calibrated, years", "zero", 1),
    "mae": Words("error of the age, raw, years", "lower", 1),
    "bias": Words("shift of the age, raw, years", "zero", 1),
    "spearman": Words("rank correlation of age asked and age read", "higher", 2),
}
PHOTOGRAPHS = {
    "mae": Words("error on the photographs themselves, raw, years", "", 1),
    "bias": Words("shift on the photographs themselves, raw, years", "", 1),
    "calibrated_mae": Words("error on the photographs themselves, calibrated, years", "", 1),
    "calibrated_bias": Words("shift on the photographs themselves, calibrated, years", "", 1),
}
PLAIN = {
    "identity/distance": Words("descriptor distance to the photograph, all ages", "", 3),
    "identity/near/distance": Words("descriptor distance to the photograph, within 15 years", "", 3),
    "identity/near/share": Words("passes for the person, within 15 years", "higher", 1, True),
    "identity/later/aged": Words("distance to later photographs of the person: aged", "lower", 3),
    "identity/later/unchanged": Words("distance to later photographs: the unchanged photograph", "", 3),
    "identity/later/gained": Words("what ageing gained (unchanged - aged)", "higher", 3),
    "keeping/turn": Words("head turned by, degrees", "lower", 1),
    "keeping/expression": Words("change of eyes and mouth, eye distances", "lower", 3),
    "keeping/psnr_outside": Words("background, PSNR in dB", "higher", 1),
    "keeping/psnr_outside_grown": Words("background after growth, PSNR in dB", "higher", 1),
    "keeping/sharpness": Words("fine detail of the face against the photograph's (1 is equal)", "", 2),
    "keeping/light": Words("change of the face's lightness, L*", "zero", 2),
    "keeping/color": Words("change of the face's colour, a*b*", "lower", 2),
    "keeping/uneven": Words("patches of light and colour, L*a*b*", "lower", 2),
}
CONDITIONS = {"unchanged": "unchanged photograph", "aged": "aged picture", "both": "mean of both"}
FOUND = {
    "rank1": Words("found at rank 1", "higher", 1, True),
    "rank5": Words("among the first five", "higher", 1, True),
    "mean_rank": Words("mean rank", "lower", 1),
    "fnmr": Words("missed at 1e-3 false matches (FNMR)", "lower", 1, True),
}


def order(name: str) -> tuple[int, str, int]:
    """Where a figure stands on the page: what the section is about first, reader by reader."""
    kind, *_, last = name.split("/")
    if kind in ("age", "photographs"):
        tables = AGE if kind == "age" else PHOTOGRAPHS
        place = list(tables).index(last) if last in tables else len(tables)
        return (kind == "photographs", name.split("/")[1], place)
    return (0, "", list(PLAIN).index(name) if name in PLAIN else len(PLAIN))


def words(name: str) -> Words:
    """How a figure of `metrics.json` is shown; unknown ones go by their own name."""
    parts = name.split("/")
    if name in PLAIN:
        return PLAIN[name]
    if parts[0] == "age" and parts[-1] in AGE:
        return _named(AGE[parts[-1]], short(parts[1]))
    if parts[0] == "photographs" and parts[-1] in PHOTOGRAPHS:
        return _named(PHOTOGRAPHS[parts[-1]], short(parts[1]))
    if name.startswith("keeping/gender/"):
        return _named(Words("the given gender is seen", "higher", 1, True), short(parts[-1]))
    if name.startswith("keeping/women/"):
        return _named(Words("drift towards women, probability", "zero", 3), short(parts[-1]))
    if parts[0] == "kernel":
        return Words(
            f"kernel distance (KID) by {parts[1]}, {parts[2]} to {int(parts[2]) + 9} years", "lower", 3
        )
    if parts[0] == "retrieval":
        condition, word = CONDITIONS.get(parts[1], parts[1]), FOUND[parts[-1]]
        gained = " gained over the unchanged photograph" if "gained" in parts else ""
        return word._replace(label=f"{condition}: {word.label}{gained}")
    return Words(name)


def _named(word: Words, reader: str) -> Words:
    return word._replace(label=f"{reader}: {word.label}")


def said(value: dict[str, Any] | None, word: Words, *, sign: bool = False) -> str:
    """A figure with its interval: `8.5 (8.0 to 8.9)`; a dash where there is none.

    Args:
        value: `value`, `low`, `high` of metrics.json.
        word: How it is shown.
        sign: Show a plus, for differences.
    """
    if value is None or value["value"] is None:
        return NOTHING
    factor, unit = (100, " %") if word.percent else (1, "")
    spec = f"{'+' if sign else ''}.{word.digits}f"
    middle = format(factor * value["value"], spec)
    if value["low"] is None or value["high"] is None:
        return f"{middle}{unit}"
    return f"{middle}{unit} ({factor * value['low']:{spec}} to {factor * value['high']:{spec}})"


def verdict(difference: dict[str, Any], word: Words) -> str:
    """What an interval of a difference says: `better`, `worse`, `not told apart`, or empty."""
    low, high = difference["low"], difference["high"]
    if low is None or high is None:
        return ""
    if low <= 0 <= high:
        return "not told apart"
    if word.better not in ("lower", "higher"):
        return "differs"
    return "better" if (low > 0) == (word.better == "higher") else "worse"
