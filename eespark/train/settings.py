"""Settings of a training run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from eespark.job import FLAG, JobSettings
from eespark.settings import Settings, Share, Url

Architecture = Literal["lstm", "bilstm", "cnn1d", "transformer"]
ImageArchitecture = Literal["ice_cnn", "vgg16_scratch", "vgg16_transfer", "vgg16_nopool", "ice_segmenter"]


class ModelSettings(Settings):
    """Architecture and size of the classifier."""

    name: Annotated[Architecture, Field(description="lstm, bilstm, cnn1d or transformer")] = "bilstm"
    units: Annotated[int, Field(ge=1, le=4096, description="width of each layer (of each direction in bilstm)")] = 128
    layers: Annotated[int, Field(ge=1, le=64, description="recurrent, convolution or attention layers")] = 3
    features: Annotated[int, Field(ge=1, le=4096, description="width of the layer before the logits, used for novelty")] = 64
    dropout: Annotated[float, Field(ge=0.0, lt=1.0, description="share of activations dropped between layers in training")] = 0.1
    heads: Annotated[int, Field(ge=1, le=64, description="attention heads of the transformer; must divide units")] = 4
    kernel: Annotated[int, Field(ge=1, le=63, description="acquisitions under one kernel of cnn1d")] = 5
    harmonics: Annotated[int, Field(ge=1, le=16, description="sine-cosine pairs of the day encoding; the first has a period of a year")] = 4

    @model_validator(mode="after")
    def _check_heads(self) -> ModelSettings:
        if self.name == "transformer" and self.units % self.heads:
            raise ValueError(f"heads must divide units, found {self.heads} and {self.units}")
        return self


class ImageModelSettings(Settings):
    """Architecture and size of a classifier of patches."""

    name: Annotated[ImageArchitecture, Field(description="ice_cnn, vgg16_scratch, vgg16_transfer, vgg16_nopool or ice_segmenter")]
    width: Annotated[float, Field(gt=0.0, le=1.0, description="share of the published number of filters in each layer")] = 1.0
    features: Annotated[int, Field(ge=1, le=4096, description="width of the layer before the logits, used for novelty")] = 64
    dropout: Annotated[float, Field(ge=0.0, lt=1.0, description="share of activations dropped before the dense layers in training")] = 0.3
    incidence: Annotated[
        Literal["channel", "slope", "none"],
        Field(description="the angle as a channel; or one slope for all classes removed from the backscatter; or not used"),
    ] = "channel"
    weights: Annotated[Url | None, Field(description="Keras HDF5 file of VGG-16's ImageNet weights, for vgg16_transfer")] = None
    frozen_layers: Annotated[int, Field(ge=0, le=13, description="first convolutions that keep the weights of the file")] = 4
    rgb: Annotated[
        Literal["mean", "filters"],
        Field(description="how channels meet the first filters of the file: their mean over R, G, B, or R, G, B as they stand"),
    ] = "mean"

    rates: Annotated[
        list[Annotated[int, Field(ge=1, le=64)]],
        Field(min_length=1, max_length=8, description="ice_segmenter: dilations of its pyramid, cells of 8 looks"),
    ] = [6, 12, 18]

    @model_validator(mode="after")
    def _check_transfer(self) -> ImageModelSettings:
        if self.name == "vgg16_transfer":
            if self.weights is None:
                raise ValueError("vgg16_transfer needs weights: a file of VGG-16 trained on ImageNet, without its top, in Keras' HDF5")
            if self.width != 1.0:
                raise ValueError(f"vgg16_transfer needs width 1.0, that of the file, found {self.width}")
            if self.rgb == "filters" and self.incidence != "channel":
                raise ValueError("rgb: filters needs three channels, HH, HV and the angle: set incidence: channel, or rgb: mean")
        return self


class SarAugmentSettings(Settings):
    """Random changes of the training patches; all off by default."""

    flip_azimuth: Annotated[bool, Field(description="turn the order of the lines of about half of the patches")] = False
    speckle_looks: Annotated[float | None, Field(ge=1.0, description="looks of speckle that is multiplied on; null: none")] = None
    gain_db: Annotated[float, Field(ge=0.0, le=6.0, description="dB; deviation of one gain a patch and band, as by another wind")] = 0.0
    noise_floor: Annotated[float, Field(ge=0.0, le=0.1, description="linear sigma nought; deviation of one offset a patch and band")] = 0.0
    incidence_deg: Annotated[float, Field(ge=0.0, le=10.0, description="deg; deviation of one offset of the angle a patch")] = 0.0
    mixup: Annotated[float, Field(ge=0.0, le=10.0, description="alpha of the Beta distribution of mixing weights; 0 is off")] = 0.0


class AugmentSettings(Settings):
    """Random changes of the training series; all off by default."""

    temporal_dropout: Annotated[float, Field(ge=0.0, lt=1.0, description="share of the valid dates that are dropped")] = 0.0
    time_warp_days: Annotated[float, Field(ge=0.0, le=50.0, description="days; largest shift of a date, smooth over the year")] = 0.0
    band_gain: Annotated[float, Field(ge=0.0, le=0.5, description="standard deviation of one factor a band and series around 1")] = 0.0
    band_noise: Annotated[float, Field(ge=0.0, le=0.2, description="reflectance (0..1); standard deviation added to each value")] = 0.0
    mixup: Annotated[float, Field(ge=0.0, le=10.0, description="alpha of the Beta distribution of mixing weights; 0 is off")] = 0.0


class FitSettings(Settings):
    """How the classifier is fitted."""

    model: Annotated[ModelSettings | ImageModelSettings, Field(discriminator="name", description="of series, or of patches")] = (
        ModelSettings()
    )
    augment: Annotated[AugmentSettings, Field(description="changes of series")] = AugmentSettings()
    augment_sar: Annotated[SarAugmentSettings, Field(description="changes of patches")] = SarAugmentSettings()
    epochs: Annotated[int, Field(ge=1, description="most epochs")] = 50
    batch: Annotated[int, Field(ge=1, description="series or patches a step and process")] = 128
    shuffle_rows: Annotated[
        int,
        Field(ge=0, description="series or patches kept in a process to shuffle; fewer where they would take more than 1 GiB"),
    ] = 8192
    sampling: Annotated[
        Literal["as_is", "balanced"], Field(description="balanced: draw with replacement, each class of the buffer as likely as the others")
    ] = "as_is"
    loss: Annotated[Literal["cross_entropy", "focal"], Field(description="focal: what is right already counts little")] = "cross_entropy"
    focal_gamma: Annotated[float, Field(ge=0.0, le=10.0, description="exponent of the focal loss; 0 is cross-entropy")] = 2.0
    learning_rate: Annotated[float, Field(gt=0.0, description="of one process; multiplied by the number of processes")] = 1e-3
    schedule: Annotated[Literal["cosine", "constant"], Field(description="of the learning rate after the warm-up")] = "cosine"
    warmup_epochs: Annotated[float, Field(ge=0.0, description="epochs of linear rise to the scaled learning rate")] = 1.0
    gradient_clip: Annotated[float, Field(gt=0.0, description="largest global norm of the averaged gradient")] = 1.0
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0, description="share of each label spread over all classes")] = 0.0
    class_weights: Annotated[Literal["none", "balanced", "sqrt"], Field(description="weight of a class by its rows in train")] = "sqrt"
    weight_by_inclusion: Annotated[bool, Field(description="weight each row by 1 / inclusion probability")] = False
    early_stopping_patience: Annotated[int | None, Field(ge=1, description="epochs without a better macro-F1; null: never stop")] = 8
    seed: Annotated[int, Field(ge=0, lt=2**31, description="of weights, order and augmentation")] = 0
    deterministic: Annotated[bool, Field(description="only operations that give the same result each time")] = True
    resume: Annotated[bool, Field(description="go on from the checkpoint of a killed run with the same settings")] = True
    tracking: Annotated[str | None, Field(description="MLflow tracking URI (folder or server); null: none")] = None
    experiment: Annotated[str, Field(min_length=1, description="name of the MLflow experiment")] = "eespark"
    time_limit_s: Annotated[float | None, Field(gt=0.0, description="s; no epoch starts after it; null: no limit")] = None
    onnx_tolerance: Annotated[float, Field(gt=0.0, description="largest difference between ONNX and Keras outputs")] = 1e-4
    novelty_shrinkage: Annotated[Share, Field(description="weight of the sphere in the covariance of the features")] = 0.05


class TrainSettings(JobSettings):
    """What is trained on what, where it goes, and by how many processes."""

    options: ClassVar[Mapping[str, str]] = {"fit.resume": FLAG}
    training_set: Annotated[Url, Field(description="URL of the training set")]
    bundle: Annotated[Url, Field(description="URL of the folder that the bundle becomes")]
    fit: FitSettings = FitSettings()
    processes: Annotated[int, Field(ge=1, description="1: in this process; more: Horovod on Spark, one task slot each")] = 1
    fall_back: Annotated[bool, Field(description="train in one process where Horovod is not installed, instead of an error")] = False
    gpus: Annotated[bool, Field(description="one GPU a process; needs make setup GPU=1 and, on a cluster, deploy/conf/spark-gpu.conf")] = (
        False
    )
    threads_per_process: Annotated[int | None, Field(ge=1, description="null: all cores")] = None
    start_timeout_s: Annotated[int, Field(ge=1, description="s until all processes must have started")] = 120
