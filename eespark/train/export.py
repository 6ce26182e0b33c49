"""The bundle: a folder with all that prediction needs, written whole or not at all."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from eespark import __version__
from eespark.errors import FormatError
from eespark.io.storage import put_folder, write_json, write_manifest
from eespark.kernels.calibration import expected_calibration_error, fit_temperature, softmax
from eespark.kernels.novelty import fit_novelty, novelty_score
from eespark.manifest import INPUTS, build_manifest, counts_by_class, dump_manifest, inputs_of, labels_of
from eespark.train.card import model_card
from eespark.train.checkpoint import State
from eespark.train.data import Arrays, read_part, shape_of
from eespark.train.image_models import DENSE, output_stride, pools_of, receptive_looks
from eespark.train.loop import Infer, Scored, class_weights, input_signature
from eespark.train.score import Matrix, confusion, f1_by_class, macro_f1, overall_accuracy, weighted_f1
from eespark.train.settings import FitSettings, ImageModelSettings

logger = logging.getLogger(__name__)

_NOVELTY_ROWS = 20_000
_NOVELTY_BYTES = 256 << 20
_CHECKED_ROWS = 256
_CHECKED_BYTES = 8 << 20
_OPSET = 15


@dataclass(frozen=True)
class _Judged:
    """What validation says of the finished model."""

    temperature: float
    metrics: dict[str, Any]
    novelty: dict[str, npt.NDArray[Any]]


def export_bundle(
    settings: FitSettings, manifest: Mapping[str, Any], training_set_url: str, bundle_url: str, model: Any,
    told_by: tuple[Infer, Scored], state: State,
) -> dict[str, Any]:  # fmt: skip
    """Write the bundle and give the content of its metrics.json.

    Args:
        settings: Of the fit.
        manifest: Of the training set.
        training_set_url: Of the training set.
        bundle_url: Folder that the bundle becomes, in the place of an older one.
        model: With its final weights.
        told_by: What infers rows by the model, and what gives those that are judged.
        state: Of the run, for its curves.

    Raises:
        FormatError: The ONNX model does not give what Keras gives.
    """
    shape = shape_of(manifest)
    validation = read_part(training_set_url, "validation", shape)
    enough = max(min(_NOVELTY_ROWS, _NOVELTY_BYTES // shape.row_bytes), 1)
    judged = _judge(settings, manifest, told_by, validation, read_part(training_set_url, "train", shape, enough_rows=enough))
    metrics = {"curves": state.history, "best_epoch": state.best_epoch, "stopped_by": state.stopped, **judged.metrics}
    with tempfile.TemporaryDirectory(prefix="eespark-bundle-") as scratch:
        folder = Path(scratch)
        signature = serving_function(model)
        save_model(signature, model, folder / "saved_model")
        save_onnx(signature, folder / "model.onnx")
        checked = max(min(_CHECKED_ROWS, _CHECKED_BYTES // shape.row_bytes), 1)
        sample = {name: values[:checked] for name, values in validation.items()}
        metrics["onnx_largest_difference"] = compare_onnx(folder / "model.onnx", told_by[0], sample, settings.onnx_tolerance)
        np.savez(folder / "novelty.npz", **judged.novelty)
        write_json(str(folder / "metrics.json"), metrics)
        content = _manifest_content(settings, manifest, training_set_url, judged.temperature)
        (folder / "model_card.md").write_text(model_card(content, metrics), encoding="utf-8")
        write_manifest(scratch, build_manifest("bundle", content, __version__))
        put_folder(scratch, bundle_url)
    logger.info("bundle with validation macro-F1 %.4f in %s", metrics["validation"]["macro_f1"], bundle_url)
    return metrics


def serving_function(model: Any) -> Any:
    """The model as a TensorFlow function of its named inputs, any batch and, of series, any number of dates."""
    signature = input_signature(model)

    @tf.function(input_signature=list(signature.values()))  # type: ignore[untyped-decorator]
    def serve(*inputs: Any) -> Any:
        outputs = model(dict(zip(signature, inputs, strict=True)), training=False)
        return {"logits": tf.identity(outputs["logits"], "logits"), "features": tf.identity(outputs["features"], "features")}

    return serve


def save_model(serve: Any, model: Any, folder: Path) -> None:
    """Write a SavedModel whose `serving_default` is the serving function."""
    module = tf.Module()
    module.weights = list(model.variables)
    module.serve = serve
    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve.get_concrete_function()})


def save_onnx(serve: Any, file: Path) -> None:
    """Write the serving function as ONNX."""
    import tf2onnx

    tf2onnx.convert.from_function(serve, input_signature=serve.input_signature, opset=_OPSET, output_path=str(file))


def compare_onnx(file: Path, infer: Infer, rows: Arrays, tolerance: float) -> float:
    """The largest difference between outputs of the ONNX file and of Keras.

    Raises:
        FormatError: It is larger than the tolerance.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    given = {one.name: rows[one.name].astype(np.float32) for one in session.get_inputs()}
    found = [one.mean(axis=(1, 2)) if one.ndim == 4 else one for one in session.run(["logits", "features"], given)]
    largest = max(float(np.abs(one - other).max(initial=0)) for one, other in zip(found, infer(rows), strict=True))
    if not largest <= tolerance:
        raise FormatError(f"needed ONNX outputs within {tolerance} of Keras, found {largest}; the bundle is not written: report the model")
    return largest


def _judge(settings: FitSettings, manifest: Mapping[str, Any], told_by: tuple[Infer, Scored], validation: Arrays, train: Arrays) -> _Judged:
    infer, scored = told_by
    logits, features = infer(validation)
    label, of_rows = validation["label"], validation["label"] >= 0
    if labels_of(manifest) == "looks":
        logits, label = scored(validation)
    known = label >= 0
    temperature = fit_temperature(logits[known], label[known])
    plain, scaled = softmax(logits[known]), softmax(logits[known], temperature)
    matrix = confusion(label, logits.argmax(axis=1), logits.shape[1])
    novelty = fit_novelty(infer(train)[1], train["label"], features[of_rows], settings.novelty_shrinkage)
    scores = {
        "rows": int(known.sum()),
        "rows_of_other_classes": int((~known).sum()),
        "overall_accuracy": overall_accuracy(matrix),
        "macro_f1": macro_f1(matrix),
        "weighted_f1": weighted_f1(matrix),
        "f1_by_class": _by_class(manifest, f1_by_class(matrix)),
        "confusion": matrix.astype(int).tolist(),
        "ece_before": expected_calibration_error(plain, label[known]),
        "ece_after": expected_calibration_error(scaled, label[known]),
        "median_novelty_of_other_classes": float(np.median(novelty_score(novelty, features[~of_rows]))) if np.any(~of_rows) else None,
    }
    arrays = {"means": novelty.means, "factor": novelty.factor, "quantiles": novelty.quantiles}
    return _Judged(temperature, {"validation": scores, "temperature": temperature}, arrays)


def _by_class(manifest: Mapping[str, Any], f1: Matrix) -> dict[str, float | None]:
    pairs = zip(manifest["classes"], f1, strict=True)
    return {str(one["id"]): None if np.isnan(value) else float(value) for one, value in pairs}


def _manifest_content(settings: FitSettings, manifest: Mapping[str, Any], url: str, temperature: float) -> dict[str, Any]:
    # The shares that the network was shown, rows times class weight: what a shift of priors starts from.
    rows = counts_by_class(manifest["parts"]["train"])
    shown = class_weights(settings.class_weights, manifest) * np.asarray([rows[str(one["id"])] for one in manifest["classes"]], np.float64)
    if settings.sampling == "balanced":
        shown = np.asarray(class_weights(settings.class_weights, manifest), np.float64)
    kept = {name: manifest[name] for name in ("legend", "classes", "bands", "statistics", *INPUTS[inputs_of(manifest)])}
    # Sets that were imported do not say the level of their products.
    kept |= {name: manifest[name] for name in ("inputs", "level") if name in manifest}
    if inputs_of(manifest) == "patches":
        assert isinstance(settings.model, ImageModelSettings), "check_model came first"
        name, size = settings.model.name, int(manifest["size"])
        kept |= {"dense": name in DENSE, "receptive_looks": receptive_looks(settings.model, size), "poolings": pools_of(name, size)}
        kept |= {"output_stride": output_stride(name), "labels": labels_of(manifest)}
    return {
        **kept,
        "model": settings.model.name,
        "onnx": "model.onnx",
        "novelty": "novelty.npz",
        "temperature": temperature,
        "priors": (shown / shown.sum()).tolist(),
        "settings": settings.model_dump(mode="json"),
        "training_set": {
            "url": url,
            "sample_set": manifest["sample_set"],
            "manifest_sha256": hashlib.sha256(dump_manifest(manifest).encode()).hexdigest(),
        },
    }
