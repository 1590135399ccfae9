"""What a retraining tells: the verdict first, then all it rests on. Also the version's model card.

Knows nothing of files' places or of MLflow: it is given what it says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from knownline.core.formatting import UNKNOWN, plain, r_squared, rounded, significant
from knownline.retrain.drift import Drift
from knownline.retrain.policy import Decision, PairedErrors

LONGEST = 5_000
"""The most characters MLflow keeps of a version's description."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """All that a report on a retraining says.

    day: of the retraining, UTC. data: a name of the fresh data. version, run_id, commit: of the
    challenger. metrics: metrics.json. champion: its name, or None. changed: what differs between
    the champion's run and the challenger's, in words. links: name to address.
    """

    day: str
    decision: Decision
    data: str
    version: str
    run_id: str
    commit: str
    metrics: dict[str, Any]
    champion: str | None
    champion_line: str | None
    drift: Drift | None
    scores: PairedErrors | None
    changed: Sequence[str]
    links: dict[str, str]

    @property
    def title(self) -> str:
        """The verdict in one line."""
        who = f"version {self.version}"
        kept = self.champion or "no champion"
        return {
            "promoted": f"{who} is the champion",
            "kept": f"{kept} stays, {who} was tried",
            "refused": f"{who} is refused, {kept} stays"
            if self.champion
            else f"{who} is refused, there is no champion",
        }[self.decision.verdict]

    def markdown(self, *, pictures: bool = True) -> str:
        """Return the report; within MLflow's limit, so that it can be the model card too.

        pictures: whether those in plots/ can be seen from where it is read.
        """
        parts = [
            f"# Retraining of {self.day}: {self.title}",
            _list(self.decision.reasons),
            self._fit(),
            self._comparison(),
            "![The fit](plots/fit.png)\n![Loss by epoch](plots/loss.png)" if pictures else "",
            self._changes(),
            self._card(pictures=pictures),
        ]
        text = "\n\n".join(part for part in parts if part) + "\n"
        return text if len(text) <= LONGEST else f"{text[: LONGEST - 2]}…\n"

    def _fit(self) -> str:
        found = self.metrics
        rows = ["## The fit", "", "| | fitted | ± | true |", "|---|---:|---:|---:|"]
        for name in ("w", "b"):
            value, error, true = found[name], found["se"][name], found["truth"][name]
            shown = UNKNOWN if value is None else rounded(value, error or 0.0)
            rows.append(f"| {name} | {shown} | {significant(error, 2)} | {significant(true, 15)} |")
        gate = found["gate"]
        rows += ["", f"Gate {'passed' if gate['passed'] else '**refused**'}:", ""]
        return "\n".join([*rows, _list(gate["reasons"])])

    def _comparison(self) -> str:
        if self.champion is None:
            return "## Champion and challenger\n\nThere was no champion to compare with."
        lines = ["## Champion and challenger", ""]
        if self.champion_line:
            lines += [f"The champion was {self.champion}: {self.champion_line}.", ""]
        if self.scores:
            lines += [
                f"| on the same {self.scores.rows:,} held-out rows | RMSE |",
                "|---|---:|",
                f"| champion | {significant(self.scores.champion_rmse, 5)} |",
                f"| challenger | {significant(self.scores.challenger_rmse, 5)} |",
                "",
                f"Chance alone makes the challenger look this much better with p ="
                f" {significant(self.scores.p_better, 2)}, worse with p ="
                f" {significant(self.scores.p_worse, 2)} (paired t-test on the squared errors).",
                "",
            ]
        if self.drift:
            d = self.drift
            lines += [
                "| drift of the fresh data from the champion's | F | p |",
                "|---|---:|---:|",
                f"| the line, (w, b) at once | {significant(d.line_f, 3)}"
                f" | {significant(d.line_p, 2)} |",
                f"| the noise, ratio of variances | {significant(d.variance_f, 3)}"
                f" | {significant(d.variance_p, 2)} |",
                f"| both | | {significant(d.p, 2)} |",
                "",
                f"Drift is p below {plain(d.level)}: **{'drifted' if d.found else 'no drift'}**.",
            ]
        return "\n".join(lines).rstrip()

    def _changes(self) -> str:
        if self.champion is None:
            return ""
        return "## What changed since the champion\n\n" + _list(self.changed or ["nothing"])

    def _card(self, *, pictures: bool) -> str:
        held = self.metrics["holdout"]
        links = [f"{name}: {address}" for name, address in self.links.items()]
        return "\n".join(
            [
                "## The model",
                "",
                "- Intended use: the y of one x within the range of the data, by y = w*x + b.",
                f"- Data: {self.data}; {self.metrics['rows']:,} rows fitted,"
                f" {held['rows']:,} held out.",
                f"- Metrics: holdout RMSE {significant(held['rmse'], 5)},"
                f" R² = {r_squared(held['r2'])}; training RMSE"
                f" {significant(self.metrics['train']['rmse'], 5)}.",
                "- Limits: one straight line. Errors and tests take the noise to be independent,"
                " normal and equally wide everywhere; outside the data's x nothing is known.",
                f"- Reproduce: `knownline reproduce {self.run_id}`.",
                f"- Serve: `mlflow models serve -m models:/knownline/{self.version}"
                " --env-manager local`, with MLFLOW_TRACKING_URI set to this store:"
                " `sqlite:///mlruns/mlflow.db`, or the server's address.",
                f"- Commit: `{self.commit}`.",
                *([] if pictures else ["- Pictures: `plots/` among the artifacts of the run."]),
                *(f"- {link}" for link in links),
            ]
        )


def _list(items: Sequence[str]) -> str:
    return "\n".join(f"- {item}" for item in items)
