"""The stage `train`: the article's gradient descent, its checkpoints and its device."""
