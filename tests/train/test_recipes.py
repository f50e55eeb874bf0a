"""Tests of mpnas/train/recipes.py."""

import dataclasses

import pytest

from mpnas.errors import ConfigError
from mpnas.train import PLAIN, RECIPES, RETRAIN_PHASE, Phase, recipe_named


@pytest.mark.parametrize("name, terms", [
    ("fine-tune", set()),
    ("scratch", set()),
    ("distil", {"distill"}),
    ("sdq", {"distill", "bins"}),
    ("one-to-one", {"features"}),
])
def test_a_recipe_has_the_terms_of_its_method_and_no_others(name, terms):
    phase = dataclasses.replace(RETRAIN_PHASE, **recipe_named(name).changes)
    assert {term for term in ("distill", "bins", "features") if getattr(phase, term) > 0} == terms
    assert phase.taught == bool(terms - {"bins"})
    # What decides how long and how fast is left to the run, so that recipes can be compared.
    for key in ("steps", "batch", "weights", "ranges", "augment", "smoothing"):
        assert getattr(phase, key) == getattr(RETRAIN_PHASE, key)


def test_soft_labels_stand_alone_and_numbers_are_those_of_the_papers():
    # Huang et al., 2022: the teacher's distribution without hard labels, lambda_E = 0.1. What that number
    # weighs is another matter: see the comment in recipes.py.
    sdq = recipe_named("sdq")
    assert (sdq.distill, sdq.temperature, sdq.bins) == (1.0, 1.0, 0.1)
    assert recipe_named("one-to-one").features == 400.0  # Zhang et al., 2023: L_det + 400 L_OST


def test_distil_and_sdq_differ_in_their_bins_alone():
    one, other = recipe_named("distil").changes, recipe_named("sdq").changes
    assert {key for key in one if one[key] != other[key]} == {"bins"}


def test_every_recipe_measures_batch_norms_again_and_only_scratch_starts_fresh():
    assert all(recipe.bn_batches > 0 for recipe in RECIPES.values())
    assert [name for name, recipe in RECIPES.items() if recipe.start == "fresh"] == ["scratch"]


def test_plain_training_has_neither_teacher_nor_bins():
    phase = dataclasses.replace(Phase(steps=1, distill=0.5, features=2.0, bins=1.0), **PLAIN)
    assert not phase.taught and phase.bins == 0


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(ConfigError, match="there is no recipe 'finetune'; nearest: 'fine-tune'"):
        recipe_named("finetune")


@pytest.mark.parametrize("key, value", [("features", -1.0), ("features", float("nan")), ("bn_batches", -1)])
def test_a_phase_refuses_what_no_recipe_can_mean(key, value):
    with pytest.raises(ConfigError, match="features >= 0 and bn_batches >= 0"):
        Phase(steps=1, **{key: value})
