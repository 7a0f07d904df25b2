"""Patching: activation, ablation, attribution and path patching over sweeps of cells."""

from mechcausal.patching.ablation import ablate as ablate
from mechcausal.patching.activation import Patching as Patching
from mechcausal.patching.activation import SweepCost as SweepCost
from mechcausal.patching.activation import patch as patch
from mechcausal.patching.attribution import attribute as attribute
from mechcausal.patching.path import path_patch as path_patch
