"""The stage `train`: optimizers, checkpoints, and the choice of the device."""
