"""Two pipelines in folders of one repository, with a matrix, variables and steps in shell.

`words` counts words by a matrix of texts and ways; `trees` fits one tree per depth and seed.
"""

WORDS = """
vars:
  - source: texts
  - settings.yaml
stages:
  count:
    matrix:
      text: [harbour, garden]
      case: [lower, exact]
    cmd: >-
      sh count.sh ${source}/${item.text}.txt ${item.case} ${least}
      > counts/${item.text}-${item.case}.tsv
    deps:
      - count.sh
      - ${source}/${item.text}.txt
    outs:
      - counts/${item.text}-${item.case}.tsv
  summary:
    cmd:
      - cat counts/*.tsv | sort > all.tsv
      - awk 'END { print "{\\"rows\\":", NR "}" }' all.tsv > summary.json
    deps:
      - counts
    outs:
      - all.tsv
    metrics:
      - summary.json:
          cache: false
"""

COUNT = """
set -e
case "$2" in lower) tr A-Z a-z < "$1" ;; *) cat "$1" ;; esac |
  tr -cs A-Za-z '\\n' | sort | uniq -c |
  awk -v least="$3" '$1 >= least { print $2 "\\t" $1 }'
"""

TREES = """
vars:
  - folder: models
  - grid.yaml
stages:
  fit:
    matrix:
      depth: ${depths}
      seed: [1, 2]
    cmd: python fit.py ${item.depth} ${item.seed} ${folder}/${key}.json
    deps:
      - fit.py
      - points.csv
    params:
      - fit
    outs:
      - ${folder}/${key}.json
  best:
    cmd: python best.py ${folder} > best.json
    deps:
      - best.py
      - ${folder}
    params:
      - best.by
    metrics:
      - best.json
"""

FIT = """
import json
import sys

import numpy as np
import yaml
from sklearn.tree import DecisionTreeClassifier

depth, seed, target = sys.argv[1:]
with open("params.yaml") as file:
    params = yaml.safe_load(file)["fit"]
table = np.loadtxt("points.csv", delimiter=",", skiprows=1)
rows = np.random.default_rng(int(seed)).permutation(len(table))
train, test = np.split(table[rows], [len(table) * 3 // 4])
tree = DecisionTreeClassifier(
    max_depth=int(depth), min_samples_leaf=params["leaf"], random_state=int(seed)
)
tree.fit(train[:, :2], train[:, 2])
found = {"depth": tree.get_depth(), "accuracy": tree.score(test[:, :2], test[:, 2])}
found["thresholds"] = tree.tree_.threshold.tolist()
with open(target, "w") as file:
    json.dump(found, file)
"""

BEST = """
import json
import sys
from pathlib import Path

import yaml

with open("params.yaml") as file:
    by = yaml.safe_load(file)["best"]["by"]
trees = [json.loads(path.read_text()) for path in sorted(Path(sys.argv[1]).glob("*.json"))]
best = max(trees, key=lambda tree: tree[by])
print(json.dumps({"accuracy": best["accuracy"], "depth": best["depth"], "of": len(trees)}))
"""

PARAMS = """
fit:
  leaf: 2
best:
  by: accuracy
"""

HARBOUR = """
The boat left the harbour in the dark. The wind was in the sails,
and the boat was fast. In the harbour a lamp was lit, and The lamp was seen.
"""

GARDEN = """
A garden in the rain is a green garden. The rain is on the wall,
and on the wall a snail is on its way. The snail has a house; the wall has a snail.
"""


def _points() -> str:
    rows = ["x,y,class"]
    for i in range(60):
        x, y = i * 37 % 60, i * 23 % 59
        rows.append(f"{x},{y},{int((x > 30) != (y > 20 + i % 3))}")
    return "\n".join(rows) + "\n"


FILES = {
    "words/dvc.yaml": WORDS,
    "words/settings.yaml": "least: 2\n",
    "words/count.sh": COUNT,
    "words/texts/harbour.txt": HARBOUR,
    "words/texts/garden.txt": GARDEN,
    "words/counts/.gitignore": "/*.tsv\n",
    "trees/dvc.yaml": TREES,
    "trees/params.yaml": PARAMS,
    "trees/grid.yaml": "depths: [1, 3]\n",
    "trees/fit.py": FIT,
    "trees/best.py": BEST,
    "trees/points.csv": _points(),
    "trees/models/.gitignore": "/*.json\n",
}
