"""Draws the growth chart from a record."""

from html import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 380, 70, 20, 50, 70


def growth(record, bound):
    """Returns an SVG with one bar a shape, its time per GMAC relative to the first shape's, and a line for the bound."""
    rows = record["shapes"]
    top = max(1.25, max(row["relative_to_s12"] for row in rows) * 1.1)
    step = (WIDTH - LEFT - RIGHT) / len(rows)
    y = lambda value: HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top  # noqa: E731
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(WIDTH / 2, 22, "Time per multiply-accumulate, relative to S12", size=16),
        _text(WIDTH / 2, 40, f"{record['kernels']}, threads: {record['threads']}, int8, {record['date']}", "#555"),
    ]
    for value in [0, 0.25, 0.5, 0.75, 1]:
        parts += [_line(y(value), "#ddd"), _text(LEFT - 8, y(value) + 4, f"{value:.2f}", anchor="end")]
    for index, row in enumerate(rows):
        x, value = LEFT + step * (index + 0.5), row["relative_to_s12"]
        fill = "#2f6f9f" if value <= bound else "#b5482f"
        left, width, height = x - step / 4, step / 2, y(0) - y(value)
        parts += [
            f'<rect x="{left:.1f}" y="{y(value):.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}"/>',
            _text(x, y(value) - 6, f"{value:.3f}"),
            _text(x, y(0) + 20, row["shape"]),
            _text(x, y(0) + 38, f"{row['gmac']:.1f} GMAC", "#555"),
            _text(x, y(0) + 55, f"{row['median_ms']:.1f} ms", "#555"),
        ]
    parts += [_line(y(bound), "#b5482f", "6 4"), _text(LEFT - 8, y(bound) + 4, f"{bound:.2f}", "#b5482f", "end"), "</svg>"]
    return "\n".join(parts) + "\n"


def _text(x, y, text, fill="#111", anchor="middle", size=13):
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{fill}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'


def _line(y, stroke, dashes=""):
    dashes = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{stroke}"{dashes}/>'
