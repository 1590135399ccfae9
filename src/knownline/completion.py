"""`knownline completion SHELL`: a script that lets a shell complete our commands and their options.

What it knows is written down here: to read it from each command's own --help would import all of
them, with torch and mlflow, for seconds. A test holds it against each --help.
"""

import sys

from knownline import door
from knownline.cli import COMMANDS

SHELLS = ("bash", "zsh", "fish")

WORDS: dict[str, tuple[str, ...]] = {
    "train": ("--pass-only",),
    "reproduce": ("--keep",),
    "retrain": ("--seed", "--date", "--force", "--push"),
    "rollback": ("--reason", "--push"),
    "store": ("pull", "push"),
    "doctor": ("--repair",),
    "ui": ("--port",),
    "completion": SHELLS,
}
"""The options and the fixed arguments of a command, besides --help, which each has."""

_BASH = """\
_knownline() {{
  local word=${{COMP_WORDS[COMP_CWORD]}}
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{commands} --help --version" -- "$word"))
    return
  fi
  case ${{COMP_WORDS[1]}} in
{cases}
  esac
}}
complete -o default -F _knownline knownline
"""


def main(argv: list[str]) -> int:
    """Print the script; it is to be kept in a file that the shell's start-up file reads."""
    parser = door.Arguments(
        "completion",
        "Print a script that completes commands and options, for a file that the shell reads at its"
        " start.",
        "knownline completion bash > ~/.knownline-completion",
    )
    known = f"{{{','.join(SHELLS)}}}"
    parser.add_argument("shell", type=door.one_of(*SHELLS), metavar=known, help="whose script")
    shell = parser.parse_args(argv).shell
    words = {command: ["--help", *WORDS.get(command, ())] for command in COMMANDS}
    sys.stdout.write(_fish(words) if shell == "fish" else _bash(words, zsh=shell == "zsh"))
    return 0


def _bash(words: dict[str, list[str]], *, zsh: bool) -> str:
    cases = "\n".join(
        f'    {command}) COMPREPLY=($(compgen -W "{" ".join(known)}" -- "$word")) ;;'
        for command, known in words.items()
    )
    script = _BASH.format(commands=" ".join(words), cases=cases)
    return f"autoload -U +X bashcompinit && bashcompinit\n{script}" if zsh else script


def _fish(words: dict[str, list[str]]) -> str:
    lines = []
    for command, known in words.items():
        about = " ".join(COMMANDS[command].split()).replace("'", "")
        lines.append(f"complete -c knownline -n __fish_use_subcommand -a {command} -d '{about}'")
        seen = f"-n '__fish_seen_subcommand_from {command}'"
        lines += [
            f"complete -c knownline {seen} "
            + (f"-l {word.removeprefix('--')}" if word.startswith("--") else f"-f -a {word}")
            for word in known
        ]
    return "\n".join([*lines, ""])
