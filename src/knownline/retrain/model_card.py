"""Writes the report of a retraining in Markdown, which is also the version's model card.

The verdict comes first, then everything it rests on. Knows nothing of files or of MLflow.
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

    day: of the retraining, UTC. data: a name of the fresh data. problem: what is fitted to what.
    model_name: of the registered model. version, run_id, commit: of the challenger. metrics: the
    content of metrics.json. champion: its name, or None; champion_parameters: None if unknown.
    changed: the differences between the champion's run and the challenger's, in words. links:
    addresses by name.
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
            "refused": f"{challenger} is refused, {champion} stays"
            if self.champion
            else f"{challenger} is refused, there is no champion",
        }[self.decision.verdict]

    def markdown(self, *, pictures: bool = True) -> str:
        """Return the report, cut to MLflow's limit, so that it can be the model card too.

        pictures: whether the files in plots/ are visible where the report is read.
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
        if metrics["se"]:
            rows += ["| | fitted | ± | true |", "|---|---:|---:|---:|"]
        for name in metrics["se"]:
            value, error, true = metrics[name], metrics["se"][name], metrics["truth"][name]
            fitted = UNKNOWN if value is None else rounded(value, error or 0.0)
            rows.append(
                f"| {name} | {fitted} | {significant(error, 2)} | {significant(true, 15)} |"
            )
        gate = metrics["gate"]
        rows += [""] if metrics["se"] else []
        rows += [f"Gate {'passed' if gate['passed'] else '**refused**'}:", ""]
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
                f"Chance alone makes the challenger look this much better with p ="
                f" {significant(self.scores.p_better, 2)}, worse with p ="
                f" {significant(self.scores.p_worse, 2)} (paired t-test on the squared errors).",
                "",
            ]
        if self.drift:
            drift = self.drift
            lines += [
                "| drift of the fresh data from the champion's | F | p |",
                "|---|---:|---:|",
                f"| the {drift.model}, {', '.join(self.metrics['se']) or 'all parameters'} at once"
                f" | {significant(drift.fit_f, 3)} | {significant(drift.fit_p, 2)} |",
                f"| the noise, ratio of variances | {significant(drift.variance_f, 3)}"
                f" | {significant(drift.variance_p, 2)} |",
                f"| both | | {significant(drift.p, 2)} |",
                "",
                f"Drift is p below {plain(drift.level)}, of a change that matters:"
                f" **{'drifted' if drift.drifted else 'no drift'}**."
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
                f"- Metrics: holdout RMSE {significant(holdout['rmse'], 5)},"
                f" R² = {r_squared(holdout['r2'])}; training RMSE"
                f" {significant(self.metrics['train']['rmse'], 5)}.",
                "- Limits: one model for all rows. Errors and tests take the noise to be"
                " independent, normal and equally wide everywhere; outside the range of the data"
                " nothing is known.",
                f"- Reproduce: `samerun reproduce {self.run_id}`.",
                f"- Serve: `mlflow models serve -m models:/{self.model_name}/{self.version}"
                " --env-manager local`, with MLFLOW_TRACKING_URI set to this store:"
                " `sqlite:///mlruns/mlflow.db`, or the server's address.",
                f"- Commit: `{self.commit}`.",
                *(
                    []
                    if pictures
                    else ["- Pictures: `reports/plots/` among the artifacts of the run."]
                ),
                *(f"- {link}" for link in links),
            ]
        )


def _list(items: Sequence[str]) -> str:
    return "\n".join(f"- {item}" for item in items)
