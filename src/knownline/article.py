"""`knownline article`: what the article printed, beside what its own program prints."""

from knownline import door, replay

DRAWS = range(-10, 11)


def main(argv: list[str]) -> int:
    """Print the replay; every sentence of the verdict is computed, none is assumed."""
    door.Arguments(
        "article",
        'Replay "AutoGrad and Simple Linear Regression" and find out whose numbers it printed.',
        "knownline article",
    ).parse_args(argv)
    runs = {draw: replay.replay(draw) for draw in DRAWS}
    losses = [draw for draw, run in runs.items() if run.has_printed_losses]
    lines = [draw for draw, run in runs.items() if run.has_printed_line]
    shown = sorted({*losses, *lines})
    slope, intercept = replay.gradients(5.0)
    print(f"Autograd at x = 5: d(wx + b)/dw = {slope:g}, d(wx + b)/db = {intercept:g}\n")
    print("The article: x = 1..99, y = 20x + 5 + one integer drawn once, not seeded;")
    print("100 epochs at learning rate 1e-4 in float32, from w = b = 0.\n")
    _table([runs[draw] for draw in shown])
    print(
        f"\nOf the draws {DRAWS[0]} to +{DRAWS[-1]}, the printed losses belong to {_names(losses)},"
    )
    print(f"the printed weights to {_names(lines)}: {_verdict(losses, lines)}.\n")
    print("The same data, trained to the end (standardised, float64, learning rate 0.25):")
    for draw in shown:
        line = replay.finished(draw)
        print(f"  draw {draw:+d}:  w = {line.w:.6f}, b = {line.b:.6f}"
              f"   (the article's 100 epochs: b = {runs[draw].line.b:.6f})")  # fmt: skip
    print("So its b was not 'somewhat close' to 5: it was an optimisation that had hardly begun,")
    print("towards a b that the one shared draw had moved, which no number of points can undo.")
    return 0


def _table(runs: list[replay.Replay]) -> None:
    heads = "".join(f"{f'draw {run.draw:+d}':>22}" for run in runs)
    print(f"{'':>10}{'printed':>22}{heads}")
    for epoch, printed in replay.PRINTED_LOSS.items():
        row = "".join(f"{run.loss[epoch]:>22.4f}" for run in runs)
        print(f"{f'loss {epoch}':>10}{printed:>22.4f}{row}")
    for name in ("w", "b"):
        row = "".join(f"{getattr(run.line, name)!r:>22}" for run in runs)
        print(f"{name:>10}{getattr(replay.PRINTED_LINE, name)!r:>22}{row}")


def _names(draws: list[int]) -> str:
    return " and ".join(f"{draw:+d}" for draw in draws) or "none of them"


def _verdict(losses: list[int], lines: list[int]) -> str:
    if set(losses) & set(lines):
        return "one run"
    return "two runs, printed as one" if losses and lines else "no run that can be found"
