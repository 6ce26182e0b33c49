"""Classes from series by a bundle: ONNX Runtime and numpy, no TensorFlow."""

from __future__ import annotations

import logging
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as onnx_state

from eespark.bands import BANDS
from eespark.errors import FormatError, ManifestError, MissingError
from eespark.io.storage import NPZ_ERRORS, is_local, join_url, local_path, open_filesystem, read_manifest
from eespark.kernels.calibration import softmax
from eespark.kernels.novelty import NoveltyModel, novelty_score
from eespark.kernels.packing import pack_dates
from eespark.manifest import inputs_of

logger = logging.getLogger(__name__)

LARGEST_ONNX_BYTES = 512 * 1024**2
_INPUTS = {"series": ("reflectance", "valid", "day"), "patches": ("sigma", "incidence")}
_OUTPUTS = ("logits", "features")
_ONNX_ERRORS = (
    onnx_state.Fail,
    onnx_state.InvalidArgument,
    onnx_state.InvalidGraph,
    onnx_state.InvalidProtobuf,
    onnx_state.NotImplemented,
    onnx_state.RuntimeException,
)
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Prediction:
    """What a bundle says of n series."""

    probabilities: Floats
    """(n, classes) in the order of the manifest's classes, calibrated by temperature; rows add up to 1."""
    class_ids: npt.NDArray[np.int32]
    """(n,) legend ids of the most probable class."""
    confidence: Floats
    """(n,) its probability."""
    novelty: Floats
    """(n,) 0..1: share of validation series that are more like the training classes."""


@dataclass(frozen=True)
class Bundle:
    """A trained classifier, ready to predict. Not for pickling: each process loads its own."""

    manifest: dict[str, Any]
    session: Any
    novelty: NoveltyModel

    @property
    def class_ids(self) -> npt.NDArray[np.int32]:
        """(classes,) legend ids in the order of the outputs."""
        return np.asarray([one["id"] for one in self.manifest["classes"]], np.int32)

    @property
    def priors(self) -> npt.NDArray[np.float64]:
        """(classes,) shares of the classes that the network was trained on, class weights included."""
        return np.asarray(self.manifest["priors"], np.float64)

    def run(self, *inputs: npt.NDArray[Any]) -> tuple[Floats, Floats]:
        """Logits and features of the network, by its inputs in the order of their kind."""
        given = (np.ascontiguousarray(one, np.float32) for one in inputs)
        logits, features = self.session.run(list(_OUTPUTS), dict(zip(_INPUTS[inputs_of(self.manifest)], given, strict=True)))
        return logits, features

    def predict(
        self,
        reflectance: npt.NDArray[Any],
        valid: npt.NDArray[Any],
        day: npt.NDArray[Any],
        priors: npt.NDArray[np.float64] | None = None,
        batch: int = 1024,
    ) -> Prediction:
        """Classes of series.

        Args:
            reflectance: (n, time, bands) x 10,000 in the manifest's band order, any numeric type; any number of dates.
            valid: (n, time) 1 where a date counts.
            day: (n, time) days since the first day of the crop year.
            priors: (classes,) shares to expect where the series are from; None leaves those of the training set.
            batch: Series at a time.

        Raises:
            FormatError: Arrays whose shapes do not go together.
        """
        count, bands = len(reflectance), len(self.manifest["bands"])
        if reflectance.ndim != 3 or reflectance.shape[2] != bands or valid.shape != reflectance.shape[:2] or day.shape != valid.shape:
            raise FormatError(
                f"needed reflectance (n, time, {bands}) with valid and day (n, time), "
                f"found {reflectance.shape}, {valid.shape} and {day.shape}"
            )
        classes = len(self.manifest["classes"])
        probabilities, novelty = np.zeros((count, classes), np.float32), np.zeros(count, np.float32)
        for start in range(0, count, batch):
            rows = slice(start, start + batch)
            logits, features = self.run(*pack_dates(reflectance[rows], valid[rows], day[rows]))
            probabilities[rows] = softmax(logits, self.manifest["temperature"])
            novelty[rows] = novelty_score(self.novelty, features)
        if priors is not None:
            probabilities = shift_priors(probabilities, self.priors, priors).astype(np.float32)
        best = probabilities.argmax(axis=1) if count else np.zeros(0, np.int64)
        return Prediction(probabilities, self.class_ids[best], probabilities[np.arange(count), best], novelty)


def predict_patches(bundle: Bundle, sigma: npt.NDArray[Any], incidence: npt.NDArray[Any], batch: int = 256) -> Prediction:
    """Classes of patches; a dense network tells them by the mean over its places.

    Args:
        bundle: Trained on patches.
        sigma: (n, size, size, bands) sigma nought, linear, in the manifest's band order.
        incidence: (n, size) degrees by column.
        batch: Patches at a time.

    Raises:
        FormatError: Arrays whose shapes do not go together.
    """
    count, bands = len(sigma), len(bundle.manifest["bands"])
    if sigma.ndim != 4 or sigma.shape[3] != bands or incidence.shape != (count, sigma.shape[2]):
        raise FormatError(f"needed sigma (n, size, size, {bands}) with incidence (n, size), found {sigma.shape} and {incidence.shape}")
    probabilities, novelty = np.zeros((count, len(bundle.class_ids)), np.float32), np.zeros(count, np.float32)
    for start in range(0, count, batch):
        rows = slice(start, start + batch)
        logits, features = (one.mean(axis=(1, 2)) if one.ndim == 4 else one for one in bundle.run(sigma[rows], incidence[rows]))
        probabilities[rows] = softmax(logits, bundle.manifest["temperature"])
        novelty[rows] = novelty_score(bundle.novelty, features)
    best = probabilities.argmax(axis=1) if count else np.zeros(0, np.int64)
    return Prediction(probabilities, bundle.class_ids[best], probabilities[np.arange(count), best], novelty)


def predict_looks(bundle: Bundle, sigma: npt.NDArray[Any], incidence: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int32], Floats]:
    """Class and probability of every look of crops by a dense network; for arrays as `predict_patches` takes them, (n, size, size) each.

    Raises:
        FormatError: The network says one thing of a whole patch.
    """
    best, sure = np.zeros(sigma.shape[:3], np.int32), np.zeros(sigma.shape[:3], np.float32)
    for number in range(len(sigma)):
        logits, _ = bundle.run(sigma[number : number + 1], incidence[number : number + 1])
        if logits.ndim != 4:
            raise FormatError(f"needed a dense network for labels by look, found {bundle.manifest['model']}; validate it on patches")
        shares = softmax(logits[0], bundle.manifest["temperature"])
        best[number], sure[number] = bundle.class_ids[shares.argmax(axis=-1)], shares.max(axis=-1)
    return best, sure


def load_bundle(url: str, threads: int = 1) -> Bundle:
    """The bundle at a URL, its manifest checked before anything else is read.

    Args:
        url: Local folder, or one that fsspec can copy to local scratch.
        threads: Of ONNX Runtime for one operation; 1 suits executors, whose slots are counted by core.

    Raises:
        MissingError: No bundle there, or one that lacks a file.
        ManifestError: Not a bundle of this eespark's bands.
        FormatError: A model file too large or of other inputs, or statistics of other sizes.
    """
    manifest = check_bundle(read_manifest(url, "bundle"), url)
    if is_local(url):
        return _load(Path(local_path(url)), manifest, threads)
    with tempfile.TemporaryDirectory(prefix="eespark-bundle-") as scratch:
        filesystem, _ = open_filesystem(url)
        for name in (manifest["onnx"], manifest["novelty"]):
            _, path = open_filesystem(join_url(url, name))
            if not filesystem.exists(path):
                raise MissingError(f"needed {name} in the bundle {url}, found none; train again")
            filesystem.get_file(path, str(Path(scratch) / name))
        return _load(Path(scratch), manifest, threads)


def check_bundle(manifest: dict[str, Any], where: str) -> dict[str, Any]:
    """The manifest itself when a prediction can rely on it.

    Raises:
        ManifestError: Entries that are absent, or other bands than this eespark reads.
    """
    missing = sorted({"onnx", "novelty", "temperature", "priors"} - manifest.keys())
    if missing:
        raise ManifestError(f"{where}: a bundle to predict with needs {', '.join(missing)}; train again")
    if inputs_of(manifest) == "series" and tuple(manifest["bands"]) != BANDS:
        raise ManifestError(f"{where}: needed bands {', '.join(BANDS)}, found {', '.join(manifest['bands'])}; train on another set")
    names = (manifest["onnx"], manifest["novelty"])
    if any(not isinstance(name, str) or Path(name).name != name or name in ("", ".", "..") for name in names):
        raise ManifestError(f"{where}: needed plain file names, found {names}; the bundle is not of eespark")
    temperature, priors, count = manifest["temperature"], manifest["priors"], len(manifest["classes"])
    if not (isinstance(temperature, float) and math.isfinite(temperature) and temperature > 0):
        raise ManifestError(f"{where}: needed a temperature above 0, found {temperature!r}; train again")
    if len(priors) != count or not all(isinstance(one, float) and 0 < one <= 1 for one in priors):
        raise ManifestError(f"{where}: needed {count} priors in 0..1], found {priors!r}; train again")
    return manifest


def _load(folder: Path, manifest: dict[str, Any], threads: int) -> Bundle:
    onnx, statistics = folder / manifest["onnx"], folder / manifest["novelty"]
    for file in (onnx, statistics):
        if not file.is_file():
            raise MissingError(f"needed {file.name} in the bundle {folder}, found none; train again")
    if onnx.stat().st_size > LARGEST_ONNX_BYTES:
        raise FormatError(f"{onnx}: needed at most {LARGEST_ONNX_BYTES} bytes, found {onnx.stat().st_size}; the bundle is not of eespark")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads leave the core to the other slots
    # A model may name other files as its weights; from bytes they are looked for in this folder, which is nowhere.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(Path(os.devnull) / "nowhere"))
    try:
        session = onnxruntime.InferenceSession(onnx.read_bytes(), options, providers=["CPUExecutionProvider"])
    except _ONNX_ERRORS as error:
        raise FormatError(f"{onnx}: needed an ONNX model, found something else ({error}); train again") from error
    inputs, outputs = {one.name for one in session.get_inputs()}, {one.name for one in session.get_outputs()}
    wanted = _INPUTS[inputs_of(manifest)]
    if inputs != set(wanted) or not set(_OUTPUTS) <= outputs:
        raise FormatError(f"{onnx}: needed inputs {wanted} and outputs {_OUTPUTS}, found {sorted(inputs)} and {sorted(outputs)}")
    return Bundle(manifest, session, _load_novelty(statistics))


def _load_novelty(file: Path) -> NoveltyModel:
    try:
        with np.load(file, allow_pickle=False) as archive:
            model = NoveltyModel(archive["means"], archive["factor"], archive["quantiles"])
    except NPZ_ERRORS as error:
        raise FormatError(f"{file}: needed novelty statistics, found something else ({error}); train again") from error
    size = model.means.shape[-1]
    if model.means.ndim != 2 or model.factor.shape != (size, size) or model.quantiles.ndim != 1:
        found = f"{model.means.shape}, {model.factor.shape} and {model.quantiles.shape}"
        raise FormatError(f"{file}: needed means (k, {size}), a factor ({size}, {size}) and quantiles (q,), found {found}; train again")
    return model


def shift_priors(probabilities: npt.NDArray[Any], old: npt.NDArray[np.float64], new: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Probabilities under other class shares: times new / old, rows made to add up to 1 again.

    Args:
        probabilities: (n, classes) under the old shares.
        old: (classes,) all above 0.
        new: (classes,) not negative; need not add up to 1.

    Raises:
        FormatError: Shares of another number of classes, negative ones, or none above 0.

    Source: Saerens, Latinne and Decaestecker 2002, Neural Computation 14, equation 2.4.
    """
    if new.shape != old.shape or np.any(new < 0) or not new.sum() > 0 or np.any(old <= 0):
        raise FormatError(f"needed {old.size} class shares of at least 0, not all 0, found {new.tolist()}")
    weighted = np.asarray(probabilities, np.float64) * (new / new.sum() / old)
    total = weighted.sum(axis=1, keepdims=True)
    # A row whose every likely class is given a share of 0 keeps the new shares themselves.
    return np.asarray(np.where(total > 0, weighted / np.where(total > 0, total, 1), new / new.sum()))


def estimate_priors(
    probabilities: npt.NDArray[Any], old: npt.NDArray[np.float64], rounds: int = 100, tolerance: float = 1e-6
) -> npt.NDArray[np.float64]:
    """(classes,) shares of the classes among unlabelled series, by expectation-maximisation.

    Args:
        probabilities: (n, classes) calibrated, under the old shares; none gives the old shares.
        old: (classes,) shares of the training set.
        rounds: Most iterations.
        tolerance: Largest change of a share at which they end.

    Source: Saerens, Latinne and Decaestecker 2002, Neural Computation 14, equation 2.9.
    """
    shares = np.asarray(old / old.sum())
    if not len(probabilities):
        return shares
    for _ in range(rounds):
        better = shift_priors(probabilities, old / old.sum(), shares).mean(axis=0)
        done = bool(np.abs(better - shares).max() < tolerance)
        shares = better
        if done:
            break
    return shares


def classes_of(manifest: Mapping[str, Any]) -> dict[int, tuple[str, str]]:
    """Name and colour by legend id."""
    return {int(one["id"]): (str(one["name"]), str(one["colour"])) for one in manifest["classes"]}
