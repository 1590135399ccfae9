"""The stage `train`: the optimizers, checkpoints and the device."""
