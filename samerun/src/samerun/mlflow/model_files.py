"""The files that a model in MLflow is made of, and what its code needs."""

import ast
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from samerun.core.errors import WorkspaceError
from samerun.mlflow.errors import cause
from samerun.pipeline import Pipeline


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The files that a model is made of.

    model: what the pipeline made. code: what serves it. beside: files that the code needs, in its
    folder or below it.
    """

    model: Path
    code: Path
    beside: tuple[Path, ...] = ()


def files_of(pipeline: Pipeline) -> ModelFiles | None:
    """Return the model of a pipeline; None if it has none. Raises: WorkspaceError.

    `meta.samerun.model` names the code and the files that it needs, an entry of `artifacts:` with
    `type: model` the model.
    """
    if not pipeline.config.model:
        return None
    code, *beside = (pipeline.project.path(name) for name in pipeline.config.model)
    entries = pipeline.project.artifacts(pipeline.stage.file).values()
    paths = [entry["path"] for entry in entries if entry.get("type") == "model"]
    if len(paths) != 1:
        raise WorkspaceError(
            "dvc.yaml must have one entry with `type: model` under artifacts:, since"
            f" meta.samerun.model names its code (got {len(paths)})"
        )
    files = ModelFiles(pipeline.folder / paths[0], code, tuple(beside))
    if not files.model.exists():
        raise WorkspaceError(
            f"the model {paths[0]}, which artifacts: in dvc.yaml names, must be there"
        )
    for name, path in zip(pipeline.config.model, (code, *beside), strict=True):
        _check_code(name, path)
        if not path.is_relative_to(code.parent):
            raise WorkspaceError(
                f"meta.samerun.model must name files in the folder of {pipeline.config.model[0]},"
                f" which is stored with them beside it (got {name})"
            )
    return files


def _check_code(name: str, path: Path) -> None:
    """Raise WorkspaceError if a file is not Python, which would end the recording half way."""
    try:
        ast.parse(path.read_bytes())
    except OSError as error:
        raise WorkspaceError(f"{name}, the model's code, must be a file ({cause(error)})") from None
    except (SyntaxError, ValueError, RecursionError) as error:
        raise WorkspaceError(f"{name}, the model's code, must be Python (got {error})") from None


def copied(files: ModelFiles, scratch: Path) -> ModelFiles:
    """Return copies of a model's files: MLflow takes no links, and DVC may link to its cache."""
    top = files.code.parent
    copies = ModelFiles(
        scratch / "of" / files.model.name,
        scratch / "by" / files.code.name,
        tuple(scratch / "by" / path.relative_to(top) for path in files.beside),
    )
    sources = (files.model, files.code, *files.beside)
    for source, copy in zip(sources, (copies.model, copies.code, *copies.beside), strict=True):
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy)
        else:
            shutil.copyfile(source, copy)
    return copies


def entries_beside(files: ModelFiles) -> dict[str, str]:
    """Return what the code needs beside it, as artifacts of MLflow: files, and whole folders.

    MLflow puts each of them beside the code, so `files` must be `copied`, in folders of their own.
    """
    top = files.code.parent
    names = sorted({path.relative_to(top).parts[0] for path in files.beside})
    return {f"beside/{name}": str(top / name) for name in names}


def input_example(code: Mapping[str, Any], files: ModelFiles) -> Any:
    """Return the example of an input that a model's code gives, or None.

    code: what the code defines: INPUT_EXAMPLE, or a function `input_example` of the model's path.
    """
    example = code.get("input_example")
    return example(files.model) if callable(example) else code.get("INPUT_EXAMPLE")


def requirements(code: Mapping[str, Any], files: ModelFiles) -> list[str]:
    """Return the packages that a model's code imports, with their versions, and mlflow.

    code: what the code defines. A function `packages` of the model's path says what this model
    needs besides the imports at the top of the files. Without it, or if it returns None, all of
    their imports count.
    """
    packages = code.get("packages")
    more = packages(files.model) if callable(packages) else None
    names = {"mlflow", *(more or ())}
    nodes_of = ast.walk if more is None else ast.iter_child_nodes
    trees = [ast.parse(path.read_bytes()) for path in (files.code, *files.beside)]
    for node in (node for tree in trees for node in nodes_of(tree)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    pins = (_pin(name) for name in names - set(sys.stdlib_module_names))
    return sorted(pin for pin in pins if pin)


def _pin(name: str) -> str | None:
    """Return NAME==VERSION of the package that an imported name comes from; None if unknown."""
    try:
        return f"{name}=={metadata.version(name).partition('+')[0]}"
    except metadata.PackageNotFoundError:
        packages = metadata.packages_distributions().get(name)
        return _pin(packages[0]) if packages and packages[0] != name else None
