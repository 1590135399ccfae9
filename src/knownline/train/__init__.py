"""The stage `train`: the article's loop, its checkpoints, its device."""
