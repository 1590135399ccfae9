"""Writes the report of a retraining in Markdown, which is also the version's model card.

The verdict comes first, then the evidence for it. Knows nothing of files or of MLflow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from knownline.core.formatting import UNKNOWN, plain, r_squared, rounded, significant
from knownline.core.kinds import Parameters
from knownline.core.paired import PairedErrors
from knownline.retrain.drift import Drift
from knownline.retrain.policy import Decision
from knownline.retrain.problem import Problem

LONGEST = 5_000
"""The most characters that MLflow stores of a version's description."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """The content of a report on a retraining.

    day: of the retraining, in UTC. data: a name of the fresh data. problem: what is fitted to what.
    model_name: the name of the registered model. version, run_id, commit: the challenger's.
    metrics: the content of metrics.json. champion: the champion's name, or None.
    champion_parameters: None if unknown. changed: the differences between the champion's run and
    the challenger's, in words. links: name to address.
    """

    day: str
    decision: Decision
    data: str
    problem: Problem
    model_name: str
    version: str
    run_id: str
    commit: str
    metrics: dict[str, Any]
    champion: str | None
    champion_parameters: Parameters | None
    drift: Drift | None
    scores: PairedErrors | None
    changed: Sequence[str]
    links: dict[str, str]

    @property
    def title(self) -> str:
        """The verdict in one line."""
        challenger = f"version {self.version}"
        champion = self.champion or "no champion"
        return {
            "promoted": f"{challenger} is the champion",
            "kept": f"{champion} stays, {challenger} was tried",
            "refused": f"{challenger} was refused, {champion} stays"
            if self.champion
            else f"{challenger} was refused, there is no champion",
        }[self.decision.verdict]

    def markdown(self, *, pictures: bool = True) -> str:
        """Return the report, cut to MLflow's limit, so that it can also be the model card.

        pictures: whether the files in plots/ can be seen where the report is read.
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
        metrics = self.metrics
        rows = ["## The fit", ""]
        known = any(value is not None for value in metrics["truth"].values())
        if metrics["se"]:
            rows += [
                f"| | fitted | ± standard error |{' true |' if known else ''}",
                f"|---|---:|---:|{'---:|' if known else ''}",
            ]
        for name in metrics["se"]:
            value, error, true = metrics[name], metrics["se"][name], metrics["truth"][name]
            fitted = UNKNOWN if value is None else rounded(value, error or 0.0)
            truth = f" {significant(true, 15)} |" if known else ""
            rows.append(f"| {name} | {fitted} | {significant(error, 2)} |{truth}")
        gate = metrics["gate"]
        rows += [""] if metrics["se"] else []
        rows += [f"The gate {'passed' if gate['passed'] else '**failed**'}:", ""]
        return "\n".join([*rows, _list(gate["reasons"])])

    def _comparison(self) -> str:
        if self.champion is None:
            return "## Champion and challenger\n\nThere was no champion to compare with."
        lines = ["## Champion and challenger", ""]
        if self.champion_parameters:
            values = [f"{n} = {significant(v, 6)}" for n, v in self.champion_parameters.items()]
            lines += [f"The champion was {self.champion}: {', '.join(values)}.", ""]
        if self.scores:
            lines += [
                f"| on the same {self.scores.rows:,} held-out rows | RMSE |",
                "|---|---:|",
                f"| champion | {significant(self.scores.reference_rmse, 5)} |",
                f"| challenger | {significant(self.scores.candidate_rmse, 5)} |",
                "",
                f"Paired t-test on the squared errors: p = {significant(self.scores.p_better, 2)}"
                f" for a better challenger, p = {significant(self.scores.p_worse, 2)} for a worse"
                " one.",
                "",
            ]
        if self.drift:
            drift = self.drift
            lines += [
                "| drift from the champion's data to the fresh data | F | p |",
                "|---|---:|---:|",
                f"| parameters of the {drift.model}, tested jointly"
                f"{': ' if self.metrics['se'] else ''}{', '.join(self.metrics['se'])}"
                f" | {significant(drift.fit_f, 3)} | {significant(drift.fit_p, 2)} |",
                f"| noise, ratio of variances | {significant(drift.variance_f, 3)}"
                f" | {significant(drift.variance_p, 2)} |",
                f"| both | | {significant(drift.p, 2)} |",
                "",
                f"**{'The data has drifted' if drift.drifted else 'No drift'}**:"
                f" {_drift_reason(drift)}"
                f" {drift.effect_words[0].upper()}{drift.effect_words[1:]}.",
            ]
        return "\n".join(lines).rstrip()

    def _changes(self) -> str:
        if self.champion is None:
            return ""
        return "## What changed since the champion\n\n" + _list(self.changed or ["nothing"])

    def _card(self, *, pictures: bool) -> str:
        holdout, names = self.metrics["holdout"], ", ".join(self.metrics["se"])
        links = [f"{name}: {address}" for name, address in self.links.items()]
        return "\n".join(
            [
                "## The model",
                "",
                f"- Intended use: {self.problem.target} from {', '.join(self.problem.inputs)},"
                f" within the range of the data, by the model `{self.problem.model}`"
                f"{f' (parameters {names})' if names else ', a network'}.",
                f"- Data: {self.data}; {self.metrics['rows']:,} rows fitted,"
                f" {holdout['rows']:,} held out.",
                f"- Metrics: {self._held_out()}training RMSE"
                f" {significant(self.metrics['train']['rmse'], 5)}.",
                "- Limits: one model for all rows. Standard errors and tests assume noise that is"
                " independent, normal and of equal variance everywhere. Nothing is known outside"
                " the range of the data.",
                f"- Reproduce: `samerun reproduce {self.run_id}`.",
                f"- Serve: `mlflow models serve -m models:/{self.model_name}/{self.version}"
                " --env-manager local`, with MLFLOW_TRACKING_URI set to this store:"
                " `sqlite:///mlruns/mlflow.db`, or the server's address.",
                f"- Commit: `{self.commit}`.",
                *(
                    []
                    if pictures
                    else ["- Plots: `reports/plots/` among the artifacts of the run."]
                ),
                *(f"- {link}" for link in links),
            ]
        )

    def _held_out(self) -> str:
        """Return the error on held-out rows, in words; "" if no rows were held out."""
        holdout = self.metrics["holdout"]
        if not holdout["rows"]:
            return ""
        rmse, r2 = significant(holdout["rmse"], 5), r_squared(holdout["r2"])
        return f"held-out RMSE {rmse}, R² = {r2}; "


def _list(items: Sequence[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _drift_reason(drift: Drift) -> str:
    if not drift.p < drift.level:
        return f"p is not below {plain(drift.level)}."
    enough = "and it is large enough" if drift.drifted else "but it is too small"
    return f"the change is beyond noise (p is below {plain(drift.level)}), {enough} to matter."
