"""Draw the points."""

import numpy as np
import pandas as pd
import yaml

params = yaml.safe_load(open("params.yaml"))
rng = np.random.default_rng(params["seed"])
x = np.arange(1.0, params["rows"] + 1)
y = 20 * x + 5 + rng.normal(0, params["noise"], len(x))
held = rng.random(len(x)) < 0.2
pd.DataFrame({"x": x, "y": y, "holdout": held}).to_csv("data.csv", index=False)
