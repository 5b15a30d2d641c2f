"""Commands: the subcommands of `kopt`, one or a family a file.

A module here imports no TensorFlow, so that each `--help`, and the commands that only read files, answer at once. A
command that needs Keras takes what does its work by `parts.needed`.
"""
