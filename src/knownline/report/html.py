"""The HTML of the report's parts: sections, tables, lists and charts with their keys.

Knows nothing of what they contain.
"""

from pathlib import Path

from knownline.core.formatting import minus
from knownline.report.epoch_charts import Chart
from knownline.report.svg import safe

STYLE = Path(__file__).with_name("page.css")
"""The style sheet, which the page includes."""


def section(title: str, content: str) -> str:
    """Return a section under its heading."""
    heading = f"<h2>{title}</h2>\n" if title else ""
    return f"<section>\n{heading}{content}\n</section>"


def figures(charts: list[Chart], *, headed: bool = False) -> str:
    """Return charts side by side; headed: a single one, whose title is the section's heading.

    The last of an odd number has no neighbour, so its key and caption are beside it.
    """
    parts = [f'<div class="figures{" wide" if headed else ""}">']
    for number, chart in enumerate(charts, start=1):
        odd = ' class="odd"' if number == len(charts) and number % 2 and not headed else ""
        key = "".join(
            f'<li><svg class="swatch" viewBox="0 0 24 12" aria-hidden="true">{_swatch(kind)}</svg>'
            f"{safe(label)}</li>"
            for kind, label in chart.key
        )
        title = "" if headed else f"<figcaption>{safe(chart.title)}</figcaption>\n"
        caption = f"<p>{safe(chart.caption)}</p>" if chart.caption else ""
        label = f'<ul class="key">{key}</ul>\n{caption}'
        parts.append(f"<figure{odd}>\n{title}{chart.drawing}\n{label}</figure>")
    return "\n".join([*parts, "</div>"])


def _swatch(kind: str) -> str:
    if kind in ("sample", "optimiser"):
        return f'<rect class="{kind}" y="1" width="24" height="10"/>'
    if kind in ("points", "way", "start", "goal", "end"):
        return f'<path class="{kind}" d="M12 6h0"/>'
    return f'<path class="{kind}" d="M0 6h24"/>'


def table(
    caption: str, column_names: list[str], rows: list[list[str]], *, numbers: bool = True
) -> str:
    """Return a table whose first column names its rows; a wide one scrolls sideways."""
    head_cells = "".join(
        f'<th scope="col">{safe(cell)}</th>' if cell else "<td></td>" for cell in column_names
    )
    lines = [
        f'<tr><th scope="row">{safe(row[0])}</th>'
        + "".join(f"<td>{safe(minus(cell) if numbers else cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    ]
    attribute = ' class="numbers"' if numbers else ""
    return "\n".join(
        [
            f'<div class="scroll" role="region" aria-label="{safe(caption)}" tabindex="0">',
            f"<table{attribute}>",
            f"<caption>{safe(caption)}</caption>",
            f"<thead><tr>{head_cells}</tr></thead>",
            "<tbody>",
            *lines,
            "</tbody>",
            "</table>",
            "</div>",
        ]
    )


def bullets(items: list[str]) -> str:
    """Return a list."""
    return "<ul>" + "".join(f"<li>{safe(item)}</li>" for item in items) + "</ul>"


def code(text: str) -> str:
    """Return text as code, in a monospaced font."""
    return f"<code>{safe(text)}</code>"
