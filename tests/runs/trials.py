"""A small experiment on an organism, shared by the tests of runs: what is planned, computed once, and looked at often."""

from mechcausal.runs import Experiment

GENDER = {"contrast": "hiring/gender", "n": 20}
OTHERS = {"contrast": "hiring/gender", "n": 20, "seed": 7}
HEADS = {"id": "heads", "run": "patch", "data": "gender", "sites": "z"}


def experiment(*steps, folder=".", sets=None, **more):
    """Return an experiment on the organism `hiring`; without steps it patches every head."""
    content = {
        "name": "trial",
        "model": "organism:hiring",
        "data": {"gender": GENDER, "others": OTHERS},
        "step": list(steps) or [HEADS],
        "block": 8,
        "cells": 6,
    }
    return Experiment.of(content | more, folder, sets)


def step(name, run, data="gender", **fields):
    """Return a step."""
    return {"id": name, "run": run, "data": data, **fields}
