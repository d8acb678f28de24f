"""Tasks: a network, a data set, trained weights and measured scores under one name."""

from compress_gym.tasks.task import *  # noqa
