"""Charts as lists of SVG elements, which `svg.html.j2` writes: scales, axes and marks, and nothing of any experiment.

Colours, dashes and fonts are classes of `style.css`. Coordinates are rounded, so that a chart is the same text each time.
"""

from dataclasses import dataclass, field

from matplotlib.ticker import MaxNLocator

MANY_GROUPS = 8  # groups beyond which bars, or columns, side by side are too narrow
SHAPES = {  # outlines about (0, 0), a few pixels wide
    "circle": "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0z",
    "square": "M-4,-4h8v8h-8z",
    "triangle": "M0,-5L4.6,3.6H-4.6z",
    "diamond": "M0,-5.4L5.4,0L0,5.4L-5.4,0z",
    "star": "M0,-7.5L2.2,-2.7L7.2,-2.3L3.3,1L4.5,6.2L0,3.4L-4.5,6.2L-3.3,1L-7.2,-2.3L-2.2,-2.7z",
    "cross": "M-4,-4L4,4M-4,4L4,-4",
}


@dataclass
class Chart:
    """A drawing of `width` x `height` pixels, named `key` in the page, with a title and description for screen readers.

    An element is (tag, attributes, its text, the tip that hovering shows); the first lies at the bottom. `rows` are the
    chart's numbers as a table, the headings first.
    """

    key: str
    title: str
    description: str
    width: float
    height: float
    rows: list[list[str]] = field(default_factory=list)
    elements: list[tuple[str, dict, str, str]] = field(default_factory=list)

    def add(self, tag: str, kind: str, *, text: str = "", tip: str = "", **attributes) -> None:
        """Add an element of the class `kind`; numbers are rounded to a tenth, and _ in a name becomes -."""
        shown = {name.replace("_", "-"): _short(value) for name, value in attributes.items()}
        self.elements.append((tag, {"class": kind, **shown}, text, tip))

    def line(self, start: tuple, end: tuple, kind: str, tip: str = "") -> None:
        """Add a straight line."""
        self.add("line", kind, tip=tip, x1=start[0], y1=start[1], x2=end[0], y2=end[1])

    def path(self, points: list[tuple], kind: str, tip: str = "") -> None:
        """Add a line through points."""
        d = "M" + "L".join(f"{_short(x)},{_short(y)}" for x, y in points)
        self.add("path", kind, tip=tip, d=d)

    def box(self, corner: tuple, size: tuple, kind: str, tip: str = "", **more) -> None:
        """Add a rectangle by its upper left corner and (width, height)."""
        self.add("rect", kind, tip=tip, x=corner[0], y=corner[1], width=size[0], height=size[1], **more)

    def write(self, place: tuple, text: str, kind: str = "label", anchor: str = "start", turn: bool = False) -> None:
        """Add text at a place; with `turn` it reads upwards."""
        more = {"transform": f"rotate(-90 {_short(place[0])} {_short(place[1])})"} if turn else {}
        self.add("text", kind, text=text, x=place[0], y=place[1], text_anchor=anchor, **more)

    def mark(self, place: tuple, shape: str, kind: str, tip: str = "", scale: float = 1) -> None:
        """Add one of `SHAPES` at a place."""
        more = f" scale({_short(scale)})" if scale != 1 else ""
        place = f"translate({_short(place[0])} {_short(place[1])}){more}"
        self.add("path", f"mark {kind}", tip=tip, d=SHAPES[shape], transform=place)


@dataclass(frozen=True)
class Axes:
    """A rectangle of a chart with a scale in each direction: `x` and `y` turn values into pixels."""

    left: float
    top: float
    width: float
    height: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def x(self, value: float) -> float:
        """Return the place of a value, from the left."""
        low, high = self.x_range
        return self.left + self.width * (value - low) / (high - low)

    def y(self, value: float) -> float:
        """Return the place of a value, from the top."""
        low, high = self.y_range
        return self.top + self.height * (high - value) / (high - low)

    @property
    def bottom(self) -> float:
        """Return the place of the lower edge."""
        return self.top + self.height

    @property
    def right(self) -> float:
        """Return the place of the right edge."""
        return self.left + self.width

    def grid_y(self, chart: Chart, label: str) -> None:
        """Draw lines across at round values, with their numbers on the left."""
        for value in ticks(self.y_range, max(3, int(self.height // 30))):
            chart.line((self.left, self.y(value)), (self.right, self.y(value)), "grid")
            chart.write((self.left - 6, self.y(value) + 4), f"{value:g}", "tick", "end")
        chart.write((self.left - 36, self.top + self.height / 2), label, "label", "middle", turn=True)

    def grid_x(self, chart: Chart, label: str, whole: bool = False, lines: bool = True) -> None:
        """Draw lines upwards at round values, or at whole numbers alone, with their numbers below."""
        for value in ticks(self.x_range, max(3, int(self.width // 42)), whole):
            if lines:
                chart.line((self.x(value), self.top), (self.x(value), self.bottom), "grid")
            chart.write((self.x(value), self.bottom + 16), f"{value:g}", "tick", "middle")
        chart.write((self.left + self.width / 2, self.bottom + 34), label, "label", "middle")


def ticks(span: tuple[float, float], count: int, whole: bool = False) -> list[float]:
    """Return about `count` round values within a range."""
    locator = MaxNLocator(count, steps=[1, 2, 5, 10], integer=whole)
    return [float(value) for value in locator.tick_values(*span) if span[0] - 1e-9 <= value <= span[1] + 1e-9]


def padded(values: list[float], fraction: float = 0.06, least: float = 1.0) -> tuple[float, float]:
    """Return the range of some values with room at both ends, at least `least` wide."""
    low, high = min(values), max(values)
    room = max((high - low) * fraction, (least - (high - low)) / 2, 1e-6)
    return low - room, high + room


def place_labels(points: list[tuple], labels: list[str], axes: Axes, size: float = 11) -> list[tuple | None]:
    """Return for each point a place (x, y, anchor) at which its label covers no point, label or edge; None if there is none.

    `points` are places (x, y); those that come first are served first.
    """
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in points]
    found = []
    for (x, y), label in zip(points, labels, strict=True):
        width = 0.56 * size * len(label)
        options = {
            (x + 9, y + 4, "start"): (x + 8, y - 6, x + 10 + width, y + 6),
            (x - 9, y + 4, "end"): (x - 10 - width, y - 6, x - 8, y + 6),
            (x, y - 10, "middle"): (x - width / 2, y - 20, x + width / 2, y - 8),
            (x, y + 18, "middle"): (x - width / 2, y + 8, x + width / 2, y + 20),
            (x + 7, y - 9, "start"): (x + 6, y - 19, x + 8 + width, y - 7),
            (x + 7, y + 16, "start"): (x + 6, y + 6, x + 8 + width, y + 18),
            (x - 7, y - 9, "end"): (x - 8 - width, y - 19, x - 6, y - 7),
            (x - 7, y + 16, "end"): (x - 8 - width, y + 6, x - 6, y + 18),
        }
        free = [place for place, box in options.items() if _inside(box, axes) and not any(_meet(box, t) for t in taken)]
        found.append(free[0] if free else None)
        if free:
            taken.append(options[free[0]])
    return found


def key(chart: Chart, entries: list[tuple[str, str, str]], x: float, y: float) -> None:
    """Write the meaning of marks, side by side from (x, y): (shape or "rect", class, text) each."""
    for shape, kind, text in entries:
        if shape == "rect":
            chart.box((x, y - 9), (14, 11), kind)
        else:
            chart.mark((x + 7, y - 4), shape, kind)
        chart.write((x + 20, y), text, "label")
        x += 34 + 6.4 * len(text)


def _inside(box: tuple, axes: Axes) -> bool:
    return axes.left <= box[0] and box[2] <= axes.right and axes.top <= box[1] and box[3] <= axes.bottom


def _meet(a: tuple, b: tuple) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _short(value) -> str:
    return f"{round(float(value), 1) + 0.0:g}" if isinstance(value, (int, float)) else str(value)
