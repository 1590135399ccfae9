"""The report: one page in one file, for people. Verdict first, then why, then from what.

No script and no address in it: what it shows is there when it is read without a network, in print,
or by a screen reader. The same numbers give the same bytes. Knows nothing of files' places.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from knownline import equations, sketches
from knownline.compression import Compressed
from knownline.evaluation import Evaluation, Gate, Way
from knownline.formatting import (
    counted,
    found_by,
    minus,
    multiple,
    plain,
    r_squared,
    rounded,
    significant,
)
from knownline.line import Line
from knownline.params import Params, in_yaml
from knownline.residuals import SAMPLES, Residuals
from knownline.sketches import Course, Sketch
from knownline.style import SHEET
from knownline.svg import safe

Array = npt.NDArray[np.float64]

_HASHES = ("Data, SHA-256", "Fingerprint")

_SIGNS = {"none": "no sign of", "faint": "a faint sign of", "clear": "a clear sign of"}


@dataclass(frozen=True, slots=True)
class Subject:
    """What a report is about.

    x, y: the points shown, (shown,) each. rows: all rows of the training. loss, w, b: by epoch.
    data_sha256, fingerprint: what the data and the whole run are known by.
    """

    found: Evaluation
    gate: Gate
    params: Params
    x: Array
    y: Array
    rows: Compressed
    way: Way
    loss: Array
    w: Array
    b: Array
    residuals: Residuals
    data_sha256: str
    fingerprint: str


def render(of: Subject) -> str:
    """Return the page as HTML."""
    found, course = of.found, Course.of(of.loss, of.w, of.b)
    verdict = f"Gate {'passed' if of.gate.passed else 'refused'}"
    left_by = _errors(of)
    fit, left = sketches.points(of.x, of.y, found=found, names=_names(of.params))
    body = [
        f'<header class="{"passed" if of.gate.passed else "refused"}">',
        f"<p>{safe(_about(of.params))}</p>",
        f"<h1>{verdict}</h1>",
        _list([minus(reason) for reason in of.gate.reasons]),
        "</header>",
        _section(
            "Fitted and true" if found.truth else "The fitted line",
            _coefficients(found) + _rest(found),
        ),
        _section(left_by.title, _figures([left_by], headed=True)),
        _section(
            "The fit and what it leaves",
            _figures([fit, left]) + _checks(of.residuals, normal=_drawn_normal(of.params)),
        ),
        _section(
            "How the training went",
            _figures(
                [
                    _loss(course, of),
                    sketches.distance(course, found),
                    sketches.coefficient(course, "w", found),
                    sketches.coefficient(course, "b", found),
                    sketches.path(course, of.rows, found),
                ]
            )
            + _epochs(of),
        ),
        _section("From what", _provenance(of)),
        _section("Do it again", _again(of)),
    ]
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f"<title>{verdict}: {safe(_about(of.params))}</title>",
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            # Nothing may be loaded, whoever serves the page: only the style sheet below is.
            '<meta http-equiv="Content-Security-Policy"'
            " content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            f"<style>\n{SHEET}</style>",
            "</head>",
            "<body>",
            "<main>",
            *body,
            "</main>",
            "</body>",
            "</html>",
            "",
        ]
    )


def _about(params: Params) -> str:
    wanted = params.generate
    if wanted.table:
        return f"A line through {wanted.table}"
    return f"A line through {wanted.rows:,} points drawn from a known one"


def _names(params: Params) -> tuple[str, str]:
    return params.generate.columns.short if params.generate.table else ("x", "y")


def _errors(of: Subject) -> Sketch:
    wanted = of.params.generate
    shared = wanted.table is None and wanted.noise.kind == "shared-integer"
    return sketches.errors(of.found, of.params.evaluate.z, of.way, shared=shared)


def _loss(course: Course, of: Subject) -> Sketch:
    last, least = map(of.rows.mean_squared_error, (of.found.line, of.found.ols))
    return sketches.loss(course, last, least if of.way.squared else None)


def _coefficients(found: Evaluation) -> str:
    """Return the table of fitted ± error, least squares and truth; a column each for w and b.

    So it is as wide on a telephone, whatever their digits.
    """
    heads = ["fitted", "± error", "least squares"]
    heads += ["true", "errors away"] if found.truth else []
    columns = []
    for name in ("w", "b"):
        fitted, ols, se = (getattr(part, name) for part in (found.line, found.ols, found.se))
        column = [rounded(fitted, se), rounded(se, se), rounded(ols, se)]
        if found.truth and found.z:
            z = getattr(found.z, name)
            column += [plain(getattr(found.truth, name)), multiple(z, signed=True)]
        columns.append(column)
    rows = [list(row) for row in zip(heads, *columns, strict=True)]
    caption = "w: slope; b: value at x = 0; errors are standard errors."
    return _table(caption, ["", "w", "b"], rows)


def _rest(found: Evaluation) -> str:
    words = f"{counted(found.rows, 'row')} fitted, root mean squared error"
    words += f" {significant(found.train_rmse, 4)}."
    if found.holdout_rmse is None:
        words += " None held out."
    else:
        words += f" {found.holdout_rows:,} held out,"
        words += f" error there {significant(found.holdout_rmse, 4)}"
        if found.holdout_r2 is not None:
            words += f", R²\u00a0=\u00a0{r_squared(found.holdout_r2)}".replace(
                " − ", "\u00a0−\u00a0"
            )
        words += "."
    return f"<p>{minus(words)}</p>"


def _drawn_normal(params: Params) -> bool:
    """Whether the points are a line's with independent normal noise, as this project drew them."""
    return params.generate.table is None and params.generate.noise.kind == "normal"


def _checks(residuals: Residuals, *, normal: bool) -> str:
    """Return what the residuals look like, in words; normal: it is known that the noise is."""
    parts = [
        "<h3>Do they look like noise?</h3>",
        f"<p>{counted(residuals.rows, 'point')} looked at; the farthest lies"
        f" {residuals.farthest:.1f} times their root mean square from the line, at x ="
        f" {minus(found_by(residuals.farthest_x, residuals.gap))}.",
    ]
    if residuals.unchecked:
        return "\n".join([*parts, f"No more can be said: {residuals.unchecked}.</p>"])
    if any(check.of_the_fit for check in residuals.checks):
        parts[-1] += (
            " The trend is the fitted line's own; the rest is asked of what least squares leaves,"
            " so that the optimiser's part is not taken for the noise's."
        )
    parts[-1] += " None of this decides the gate."
    if normal and any(check.sign != "none" for check in residuals.checks):
        parts[-1] += (
            " These points were drawn from a line with normal noise, so a sign of anything else"
            " is chance."
        )
    parts[-1] += "</p>"
    said = []
    for check in residuals.checks:
        often = f"{check.as_much:,}" if check.as_much else "none"
        said.append(
            f"{_SIGNS[check.sign]} {check.about}: {often} of {SAMPLES:,} samples of pure noise show"
            f" as much ({check.name} = {minus(significant(check.value, 3))})"
        )
    return "\n".join([*parts, _list([words[0].upper() + words[1:] for words in said])])


def _epochs(of: Subject) -> str:
    """Return the numbers behind the curves, few enough to be read."""
    last = len(of.loss) - 1
    places = sorted({*range(min(last, 9)), *np.geomspace(1, last + 1, 12).astype(int) - 1, last})
    rows = [
        [f"{n:,}", *(significant(float(part[n]), 6) for part in (of.loss, of.w, of.b))]
        for n in places
    ]
    table = _table(
        "The loss an epoch began with, and the line it left.", ["epoch", "loss", "w", "b"], rows
    )
    return f"<details><summary>The curves as numbers</summary>\n{table}\n</details>"


def _provenance(of: Subject) -> str:
    params, train = of.params, of.params.train
    facts = [
        ("Points", _points(params)),
        ("Rows", f"{of.found.rows:,} to fit, {of.found.holdout_rows:,} held out"),
        (
            "Training",
            f"{counted(train.epochs, 'epoch')} of gradient descent at learning rate"
            f" {plain(train.learning_rate)}, {train.dtype},"
            f" x {'standardised' if train.standardize else 'as it is'}, on"
            f" {'three points that have the loss of all rows' if train.compress else 'all rows'}",
        ),
        ("Data, SHA-256", of.data_sha256),
        ("Fingerprint", of.fingerprint),
    ]
    terms = "\n".join(
        f"<div><dt>{name}</dt><dd>{_code(text) if name in _HASHES else safe(text)}</dd></div>"
        for name, text in facts
    )
    flat = params.flat().items()
    rows = [[key, v if isinstance(v, str) else in_yaml(v)] for key, v in flat]
    table = _table("As params.yaml had them.", ["parameter", "value"], rows, numbers=False)
    return (
        f"<dl>\n{terms}\n</dl>\n<p>The fingerprint is the SHA-256 over the data, the parameters"
        " and the code. The same inputs give the same page, so no time, machine or commit is on it:"
        " MLflow has them with the run.</p>\n"
        f"<details><summary>Every parameter</summary>\n{table}\n</details>"
    )


def _points(params: Params) -> str:
    wanted = params.generate
    if wanted.table:
        return f"{wanted.table}, {wanted.columns.y} against {wanted.columns.x}"
    noise, spaced = wanted.noise, wanted.x
    assert params.truth  # drawn points have one
    line = equations.chosen(Line(params.truth.w, params.truth.b))
    kinds = {
        "normal": "standard deviation",
        "integer": "up to",
        "shared-integer": "one for all, up to",
    }
    where = "evenly spaced" if spaced.spacing == "grid" else "at random"
    return (
        f"{wanted.rows:,} drawn from {line} + {noise.kind} noise"
        f" ({kinds[noise.kind]} {plain(noise.scale)}), x {where} from {plain(spaced.low)} to"
        f" {plain(spaced.high)},"
        f" seed {wanted.seed}"
    )


def _again(of: Subject) -> str:
    return (
        "<p>In the workspace this page was made in, <code>make repro</code> does what changed and"
        " nothing else. A recorded run is found in MLflow by its tag:</p>\n"
        f"<pre tabindex=\"0\">tags.fingerprint = '{of.fingerprint}'</pre>\n"
        "<p>and proved, from its commit, its parameters and its data, bit for bit:</p>\n"
        '<pre tabindex="0">knownline reproduce RUN_ID</pre>'
    )


def _section(title: str, content: str) -> str:
    heading = f"<h2>{title}</h2>\n" if title else ""
    return f"<section>\n{heading}{content}\n</section>"


def _figures(drawn: list[Sketch], *, headed: bool = False) -> str:
    """Return charts side by side; headed: one alone, whose title is the heading above it.

    Where two stand beside each other, the last of an odd number has its words at its side.
    """
    parts = [f'<div class="figures{" wide" if headed else ""}">']
    for place, sketch in enumerate(drawn, start=1):
        odd = ' class="odd"' if place == len(drawn) and place % 2 and not headed else ""
        key = "".join(
            f'<li><svg class="swatch" viewBox="0 0 24 12" aria-hidden="true">{_swatch(kind)}</svg>'
            f"{safe(words)}</li>"
            for kind, words in sketch.key
        )
        title = "" if headed else f"<figcaption>{safe(sketch.title)}</figcaption>\n"
        caption = f"<p>{safe(sketch.caption)}</p>" if sketch.caption else ""
        words = f'<ul class="key">{key}</ul>\n{caption}'
        parts.append(f"<figure{odd}>\n{title}{sketch.drawing}\n{words}</figure>")
    return "\n".join([*parts, "</div>"])


def _swatch(kind: str) -> str:
    if kind in ("sample", "optimiser"):
        return f'<rect class="{kind}" y="1" width="24" height="10"/>'
    if kind in ("points", "way", "start", "goal", "end"):
        return f'<path class="{kind}" d="M12 6h0"/>'
    return f'<path class="{kind}" d="M0 6h24"/>'


def _table(caption: str, head: list[str], rows: list[list[str]], *, numbers: bool = True) -> str:
    """Return a table whose first column names its rows; it scrolls where it is too wide."""
    top = "".join(f'<th scope="col">{safe(cell)}</th>' if cell else "<td></td>" for cell in head)
    lines = [
        f'<tr><th scope="row">{safe(row[0])}</th>'
        + "".join(f"<td>{safe(minus(cell) if numbers else cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    ]
    kind = ' class="numbers"' if numbers else ""
    return "\n".join(
        [
            f'<div class="scroll" role="region" aria-label="{safe(caption)}" tabindex="0">',
            f"<table{kind}>",
            f"<caption>{safe(caption)}</caption>",
            f"<thead><tr>{top}</tr></thead>",
            "<tbody>",
            *lines,
            "</tbody>",
            "</table>",
            "</div>",
        ]
    )


def _list(items: list[str]) -> str:
    return "<ul>" + "".join(f"<li>{safe(item)}</li>" for item in items) + "</ul>"


def _code(text: str) -> str:
    return f"<code>{safe(text)}</code>"
