"""The stage `evaluate`: the line against the truth, to metrics, pictures and a page in reports/."""

import json

from knownline import (
    door,
    evaluation,
    files,
    history,
    onepass,
    page,
    plots,
    provenance,
    residuals,
)
from knownline.layout import (
    DATA,
    HISTORY,
    HOLDOUT,
    LINE,
    METRICS,
    MODELS,
    PLOTS,
    REPORT,
    REPORTS,
    TRAIN,
)
from knownline.line import Line


def main(argv: list[str]) -> int:
    """Judge the line, write the verdict and the pictures. A refusal is a verdict, not a failure."""
    door.Arguments(
        "evaluate",
        "Hold the fitted line against least squares, the truth and the holdout; judge it.",
        "knownline evaluate",
    ).parse_args(argv)
    params = door.read_params()
    made = provenance.made_with("evaluate", params)
    known, held = onepass.known(TRAIN), onepass.known(HOLDOUT)
    assert known is not None  # a rule of generate
    train, (x, y) = known.rows, known.sample
    holdout = held.rows if held else None
    files.check_seal(MODELS)
    # The page tells what the data and the line were made with: they must have been.
    identity = provenance.identity(params, provenance.data_sha256())
    files.check_used(DATA, provenance.made_with("generate", params))
    trained = provenance.made_with("train", params, data_sha256=identity.data)
    files.check_used(MODELS, trained)
    line = Line.from_json(LINE.read_text())
    losses, w, b = history.read(HISTORY)
    truth = Line(params.truth.w, params.truth.b) if params.truth else None
    found = evaluation.assess(
        line, train=train, holdout=holdout, truth=truth, last_loss=float(losses[-1])
    )
    way = evaluation.Way.of(losses, w, b, rows=train)
    gate = evaluation.judge(found, params.evaluate, params.train, way, table=params.generate.table)
    own = params.generate.table is not None
    names = plots.Names(*params.generate.columns.short) if own else plots.Names()
    least = train.mean_squared_error(found.ols) if way.squared else None
    with files.replaced_folder(PLOTS) as folder:
        for name, png in (
            ("fit.png", plots.fit(x, y, line=line, truth=truth, of=train.rows, names=names)),
            ("loss.png", plots.loss(losses, least)),
            ("path.png", plots.path(w, b, rows=train, truth=truth)),
        ):
            files.write_bytes(folder / name, png)
        again = "run `dvc repro` again"
        provenance.check_unchanged("evaluate", made, door.read_params(), then=again)
    report = page.Subject(
        found=found,
        gate=gate,
        params=params,
        x=x,
        y=y,
        rows=train,
        way=way,
        loss=losses,
        w=w,
        b=b,
        residuals=residuals.examine(x, y, line, rows=train),
        data_sha256=identity.data,
        fingerprint=identity.fingerprint,
    )
    files.write_text(REPORT, page.render(report))
    metrics = evaluation.as_metrics(found, gate)
    files.write_text(METRICS, json.dumps(metrics, indent=2, allow_nan=False) + "\n")
    files.write_used(REPORTS, made)
    used = REPORTS / files.USED
    files.seal(REPORTS, [METRICS, REPORT, used, *PLOTS.glob("*.png")])
    print(f"evaluate: gate {'passed' if gate.passed else 'refused'}: {'; '.join(gate.reasons)}")
    return 0
