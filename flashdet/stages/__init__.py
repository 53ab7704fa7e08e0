"""One room per detector or reconstruction step, all furnished alike.

A room is a module or a folder: its ``stage.py`` has configuration and stage, the other modules physics and kernels.
Beside the rooms lies what several of them use: what a stage is (`base`), surfaces, hypotheses (`pid`, `priors`),
particles of the record (`rows`, `codes`, `neutrals`, `secondaries`).
"""
