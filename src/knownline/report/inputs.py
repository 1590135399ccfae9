"""What the fit was made from, in words: points, rows, training and data.

Knows nothing of the page that shows them, nor of files.
"""

from knownline.core.formatting import counted, plain
from knownline.core.kinds import Linear, Network, Nonlinear
from knownline.evaluate.results import Results
from knownline.params import Params
from knownline.report import equations

_OPTIMIZERS = {"gd": "gradient descent", "adam": "Adam", "lbfgs": "L-BFGS"}


def facts(params: Params, results: Results) -> list[tuple[str, str]]:
    """Return the facts by name."""
    train, found = params.train, results.evaluation
    training = (
        f"{counted(train.epochs, 'epoch')} of {_OPTIMIZERS[train.optimizer]} at learning rate"
        f" {plain(train.learning_rate)}, {train.dtype}, {_terms(params)}, on"
        f" {_fitted_points(params, found.rows)}"
    )
    rows = f"{found.rows:,} for training, {found.holdout_rows:,} held out"
    return [("Points", _points(params)), ("Rows", rows), ("Training", training)]


def about(params: Params) -> str:
    """Return what was fitted to what."""
    subject = "A line" if equations.is_line(params.kind) else f"The model {params.model}"
    if params.generate.table:
        return f"{subject} fitted to {params.generate.table}"
    return f"{subject} fitted to {params.generate.rows:,} points drawn around a known one"


def target(params: Params) -> str:
    """Return what y is called: as in the table, if there is one."""
    return params.generate.columns.y if params.generate.table else "y"


def _terms(params: Params) -> str:
    standardised = params.train.standardize
    if isinstance(params.kind, Network):
        return "inputs and y standardised"
    if isinstance(params.kind, Nonlinear):
        return "parameters scaled" if standardised else "parameters not scaled"
    terms = "x" if equations.is_line(params.kind) else "terms"
    return f"{terms} standardised" if standardised else f"{terms} not standardised"


def batch_size(params: Params, rows: int) -> int | None:
    """Return the rows of a minibatch; None if every step takes all rows."""
    size = params.train.batch_size
    return size if isinstance(params.kind, Network) and size and size < rows else None


def _fitted_points(params: Params, rows: int) -> str:
    if size := batch_size(params, rows):
        return f"minibatches of {counted(size, 'row')}"
    if not (params.train.compress and isinstance(params.kind, Linear)):
        return "all rows"
    return f"{len(params.kind.names) + 1} points that have the same loss as all rows"


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
        "shared-integer": "the same for all points, up to",
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
