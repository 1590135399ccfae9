"""The section of the report that says what the fit was made from: data and parameters.

Knows nothing of the page that shows it, nor of files.
"""

from knownline.core.formatting import counted, plain
from knownline.core.kinds import Linear, Network, Nonlinear
from knownline.core.yaml_text import in_yaml
from knownline.evaluate.results import Results
from knownline.params import Params
from knownline.report import equations, html
from knownline.report.svg import safe

_DATA = "Data, SHA-256"

_OPTIMIZERS = {"gd": "gradient descent", "adam": "Adam", "lbfgs": "L-BFGS"}


def described(params: Params, results: Results) -> str:
    """Return the list of what the fit was made from, and the table of every parameter."""
    train = params.train
    facts = [
        ("Points", _points(params)),
        (
            "Rows",
            f"{results.evaluation.rows:,} to fit, {results.evaluation.holdout_rows:,} held out",
        ),
        (
            "Training",
            f"{counted(train.epochs, 'epoch')} of {_OPTIMIZERS[train.optimizer]} at learning rate"
            f" {plain(train.learning_rate)}, {train.dtype},"
            f" {_terms(params)}, on {_fitted_points(params, results.evaluation.rows)}",
        ),
        (_DATA, results.data_sha256),
    ]
    terms = "\n".join(
        f"<div><dt>{name}</dt><dd>{html.code(text) if name == _DATA else safe(text)}</dd></div>"
        for name, text in facts
    )
    parameters = params.flat().items()
    rows = [[key, value if isinstance(value, str) else in_yaml(value)] for key, value in parameters]
    table = html.table("As params.yaml had them.", ["parameter", "value"], rows, numbers=False)
    return (
        f"<dl>\n{terms}\n</dl>\n<p>The SHA-256 is that of data/SHA256SUMS, which lists every data"
        " file. The same inputs give the same page, so no time, machine or commit is on it: MLflow"
        " has them with the run.</p>\n"
        f"<details><summary>Every parameter</summary>\n{table}\n</details>"
    )


def _terms(params: Params) -> str:
    standardised = params.train.standardize
    if isinstance(params.kind, Network):
        return "inputs and y standardised"
    if isinstance(params.kind, Nonlinear):
        return "parameters scaled" if standardised else "parameters as they are"
    if equations.is_line(params.kind):
        return "x standardised" if standardised else "x as it is"
    return "terms standardised" if standardised else "terms as they are"


def batch_size(params: Params, rows: int) -> int | None:
    """Return the rows of a minibatch; None if every step takes all rows."""
    size = params.train.batch_size
    return size if isinstance(params.kind, Network) and size and size < rows else None


def _fitted_points(params: Params, rows: int) -> str:
    if size := batch_size(params, rows):
        return f"minibatches of {counted(size, 'row')}"
    if not (params.train.compress and isinstance(params.kind, Linear)):
        return "all rows"
    count = len(params.kind.names) + 1
    return f"{'three' if count == 3 else count} points that have the loss of all rows"


def _points(params: Params) -> str:
    settings, kind = params.generate, params.kind
    if settings.table:
        return f"{settings.table}, {settings.columns.y} against {', '.join(settings.columns.x)}"
    assert params.true_parameters  # drawn points have them
    drawn = equations.of_truth(kind, params.true_parameters)
    if not equations.is_line(kind):
        drawn = f"the model {params.model} ({drawn})"
    noise = settings.noise
    meanings = {
        "normal": "standard deviation",
        "integer": "up to",
        "shared-integer": "one for all, up to",
    }
    return (
        f"{settings.rows:,} drawn from {drawn} + {noise.kind} noise"
        f" ({meanings[noise.kind]} {plain(noise.scale)}), {_spacings(params)}, seed {settings.seed}"
    )


def _spacings(params: Params) -> str:
    """Return where the inputs lie; those that lie alike together."""
    names = params.generate.columns.x if len(params.kind.inputs) > 1 else ["x"]
    alike: dict[str, list[str]] = {}
    for name, each in zip(names, params.generate.spacings, strict=True):
        spacing = "evenly spaced" if each.spacing == "grid" else "at random"
        place = f"{spacing} from {plain(each.low)} to {plain(each.high)}"
        alike.setdefault(place, []).append(name)
    return ", ".join(f"{', '.join(inputs)} {place}" for place, inputs in alike.items())
