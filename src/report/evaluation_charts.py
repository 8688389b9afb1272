"""Charts of an evaluation as inline SVG: lines with intervals, clouds of points, bands."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

from markupsafe import Markup

WIDTH, HEIGHT = 520, 320  # units of the drawing
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 14, 62
COLOURS = ("#1b5e8c", "#a84f0c", "#3c7d3c", "#7a3b8f", "#8c1b3d", "#4d4d4d")
STEPS = (1, 2, 2.5, 5, 10)

Placing = Callable[[float, float], tuple[float, float]]  # from values to the drawing


@dataclass(frozen=True)
class Line:
    """One line, or one cloud of points, of a chart.

    Attributes:
        name: In the key.
        points: `(x, y)`.
        ends: `(low, high)` of each point's interval; empty without.
        cloud: Points alone, small and pale.
        dashed: For what is only there to compare with.
        colour: Number of it; None takes the next.
    """

    name: str
    points: Sequence[tuple[float, float]]
    ends: Sequence[tuple[float, float]] = ()
    cloud: bool = False
    dashed: bool = False
    colour: int | None = None


@dataclass(frozen=True)
class Band:
    """A range of values over a range of x.

    Attributes:
        name: In the key.
        boxes: `(x0, x1, y0, y1)`.
        colour: Number of it.
    """

    name: str
    boxes: Sequence[tuple[float, float, float, float]] = field(default_factory=tuple)
    colour: int = 0


def ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Round numbers within a range, `low < high`.

    Example:
        >>> from faceforward.report.evaluation_charts import ticks
        >>> ticks(0, 68)
        [0, 10, 20, 30, 40, 50, 60]
    """
    least = (high - low) / most
    power = 10 ** math.floor(math.log10(least))
    step = next(factor * power for factor in STEPS if factor * power >= least * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(step * k, 10) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def chart(
    lines: Sequence[Line],
    *,
    x: str,
    y: str,
    bands: Sequence[Band] = (),
    diagonal: bool = False,
    least: float | None = None,
    most: float | None = None,
) -> Markup:
    """Draw a chart; everything that is shown is escaped, so that names of folders cannot be markup.

    Args:
        lines: What to draw; points that are not numbers are left out.
        x: What the horizontal axis says.
        y: What the vertical one says.
        bands: Behind the lines.
        diagonal: Also draw where both are equal.
        least: Lower end of the vertical axis; None leaves it to the points.
        most: Upper end.

    Returns:
        An `svg` element; empty when there is no point.
    """
    points = [
        point
        for line in lines
        for point in (
            *line.points,
            *((px, end) for (px, _), both in zip(line.points, line.ends, strict=False) for end in both),
        )
        if all(map(math.isfinite, point))
    ]
    points += [(px, py) for band in bands for x0, x1, y0, y1 in band.boxes for px, py in ((x0, y0), (x1, y1))]
    if not points:
        return Markup("")
    xs, ys = zip(*points, strict=True)
    x0, x1 = _widened(min(xs), max(xs))
    y0, y1 = _widened(
        min(ys) if least is None else least, max(ys) if most is None else most, least is None, most is None
    )

    def place(px: float, py: float) -> tuple[float, float]:
        across = LEFT + (px - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT)
        down = HEIGHT - BOTTOM - (py - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM)
        return round(across, 1), round(down, 1)

    parts = [_axes(place, (x0, x1), (y0, y1), x, y)]
    key: list[tuple[str, int, bool]] = []
    for band in bands:
        parts += [_box(place(b[0], b[3]), place(b[1], b[2]), band.colour) for b in band.boxes]
        key.append((band.name, band.colour, True))
    if diagonal:
        low, high = max(x0, y0), min(x1, y1)
        parts.append(_path([place(low, low), place(high, high)], "#9aa3aa", dashed=True))
    for number, line in enumerate(lines):
        colour = number if line.colour is None else line.colour
        parts += _line(line, place, COLOURS[colour % len(COLOURS)])
        if line.name:
            key.append((line.name, colour, False))
    parts.append(_key(key))
    label = escape(f"{y} against {x}")
    return Markup(
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT + 18 * ((len(key) + 2) // 3)}" role="img" aria-label="{label}">'
        + "".join(parts)
        + "</svg>"
    )


def _widened(low: float, high: float, down: bool = True, up: bool = True) -> tuple[float, float]:
    room = (high - low) * 0.05 or max(abs(high) * 0.1, 0.5)
    return low - room * down, high + room * up


def _line(line: Line, place: Placing, colour: str) -> list[str]:
    parts = []
    known = [k for k, point in enumerate(line.points) if all(map(math.isfinite, point))]
    if line.cloud:
        for k in known:
            cx, cy = place(*line.points[k])
            parts.append(f'<circle cx="{cx}" cy="{cy}" r="2.4" fill="{colour}" fill-opacity=".35"/>')
        return parts
    places = [place(*line.points[k]) for k in known]
    parts.append(_path(places, colour, dashed=line.dashed))
    for k in known:
        cx, cy = place(*line.points[k])
        if line.ends and all(map(math.isfinite, line.ends[k])):
            ends = [place(line.points[k][0], end) for end in line.ends[k]]
            parts.append(_path(ends, colour, width=1.2))
        if not line.dashed and len(known) <= 30:
            parts.append(f'<circle cx="{cx}" cy="{cy}" r="3.2" fill="{colour}"/>')
    return parts


def _path(
    places: Sequence[tuple[float, float]], colour: str, *, dashed: bool = False, width: float = 2
) -> str:
    points = " ".join(f"{px},{py}" for px, py in places)
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}"{dash}/>'


def _box(top: tuple[float, float], bottom: tuple[float, float], colour: int) -> str:
    width, height = round(bottom[0] - top[0], 1), round(bottom[1] - top[1], 1)
    return (
        f'<rect x="{top[0]}" y="{top[1]}" width="{width}" height="{height}" '
        f'fill="{COLOURS[colour % len(COLOURS)]}" fill-opacity=".14"/>'
    )


def _axes(place: Placing, across: tuple[float, float], up: tuple[float, float], x: str, y: str) -> str:
    left, bottom = place(across[0], up[0])
    right, top = place(across[1], up[1])
    parts = [f'<path d="M{left},{top}V{bottom}H{right}" fill="none" stroke="#5b646b"/>']
    for value in ticks(*across):
        px, _ = place(value, up[0])
        parts.append(f'<text x="{px}" y="{bottom + 16}" text-anchor="middle">{value:g}</text>')
    for value in ticks(*up):
        _, py = place(across[0], value)
        parts.append(f'<path d="M{left},{py}H{right}" stroke="#d9dee2" stroke-width=".7"/>')
        parts.append(f'<text x="{left - 6}" y="{py + 4}" text-anchor="end">{value:g}</text>')
    middle = (left + right) / 2, (top + bottom) / 2
    parts.append(f'<text x="{middle[0]}" y="{bottom + 34}" text-anchor="middle">{escape(x)}</text>')
    turned = f"rotate(-90 13 {middle[1]})"
    parts.append(f'<text x="13" y="{middle[1]}" text-anchor="middle" transform="{turned}">{escape(y)}</text>')
    return "".join(parts)


def _key(entries: Sequence[tuple[str, int, bool]]) -> str:
    parts = []
    for number, (name, colour, band) in enumerate(entries):
        px, py = LEFT + 155 * (number % 3), HEIGHT - 10 + 18 * (number // 3)
        shown = name if len(name) <= 24 else name[:23] + "…"
        opacity = ' fill-opacity=".25"' if band else ""
        parts.append(
            f'<rect x="{px}" y="{py - 8}" width="10" height="10" '
            f'fill="{COLOURS[colour % len(COLOURS)]}"{opacity}/>'
            f'<text x="{px + 15}" y="{py + 1}">{escape(shown)}</text>'
        )
    return "".join(parts)
