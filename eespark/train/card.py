"""The model card of a bundle: what it is, how good, and its limits, in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from eespark import __version__
from eespark.manifest import inputs_of


def model_card(content: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """The bundle in words, for those who find it."""
    validation = metrics["validation"]
    names = {str(one["id"]): one["name"] for one in content["classes"]}
    lines = [f"| {names[key]} | {'-' if f1 is None else format(f1, '.3f')} |" for key, f1 in validation["f1_by_class"].items()]
    what, limits = _of_patches(content) if inputs_of(content) == "patches" else _of_series(content)
    return "\n".join(
        [
            f"# {content['model']} for {content['legend']}",
            "",
            f"{what} into {len(names)} classes. Trained by eespark {__version__} on the sample set "
            f"{content['training_set']['sample_set']}.",
            "",
            "## On its validation rows",
            f"{validation['rows']:,} rows: overall accuracy {validation['overall_accuracy']:.3f}, macro-F1 {validation['macro_f1']:.3f}, "
            f"weighted F1 {validation['weighted_f1']:.3f}; calibration error {validation['ece_before']:.3f}, "
            f"after temperature {content['temperature']:.2f} {validation['ece_after']:.3f}. Validation chose "
            "the epoch and the temperature, so independent data will give less.",
            "",
            "| class | F1 |",
            "|---|---|",
            *lines,
            "",
            "## Limits",
            f"{limits} Class shares follow the training set unless priors are shifted.",
            "",
        ]
    )


def _of_series(content: Mapping[str, Any]) -> tuple[str, str]:
    what = (
        f"Classifies a year's series of {len(content['bands'])} Sentinel-2 bands ({', '.join(content['bands'])}; reflectance x "
        f"{content['scale']:,}; grid: {json.dumps(content['grid'])})"
    )
    limits = "Labels are declarations, not observations. Ground, years and crops unlike the training set get answers too: look at novelty."
    return what, limits


def _of_patches(content: Mapping[str, Any]) -> tuple[str, str]:
    seen, size = content["receptive_looks"], content["size"]
    what = (
        f"Classifies Sentinel-1 sigma nought ({', '.join(content['bands'])}, linear) with the incidence angle, at looks of "
        f"{content['looks']} pixels; {'every look by' if content['dense'] else 'patches of'} {seen} x {seen} looks,"
    )
    pools = f"It has {content['poolings']} poolings of the published ones, as many as patches of {size} looks allow. "
    limits = "Labels are what analysts drew on the scenes. Seasons, regions and instruments unlike the training set get answers too."
    return what, limits if content["dense"] else pools + limits
