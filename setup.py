"""Package metadata; tools are configured in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = next(
    line.split('"')[1]
    for line in (HERE / "eespark" / "__init__.py").read_text(encoding="utf-8").splitlines()
    if line.startswith("__version__")
)

setup(
    name="eespark",
    version=VERSION,
    description="Training sets from the Copernicus archives and maps from them, on Apache Spark",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    author="The eespark developers",
    python_requires=">=3.11,<3.12",
    packages=find_packages(include=["eespark", "eespark.*"]),
    package_data={"eespark.legends": ["*.yaml"], "eespark.synthetic": ["*.yaml"], "eespark": ["py.typed"]},
    install_requires=[
        "aiohttp",
        "apache-sedona==1.8.0",
        "defusedxml",
        "delta-spark==3.3.2",
        "fsspec",
        "geopandas>=1",
        "numpy>=1.26,<2",
        "onnxruntime",
        "pandas>=2.2,<3",
        "pyarrow>=14,<15",
        "pydantic>=2,<3",
        "pyogrio",
        "pyproj>=3.6",
        "pyspark==3.5.9",
        "pystac>=1.10",
        "pyyaml",
        "rasterio>=1.4,<1.5",
        "requests",
        "s3fs",
        "scipy",
        "shapely>=2",
        "typer",
    ],
    extras_require={
        "train": [
            "horovod==0.28.1",
            "mlflow-skinny",
            "onnx>=1.16,<1.17",
            "petastorm==0.13.1",
            "scikit-learn",
            "tensorflow-cpu==2.15.1",
            "tf2onnx==1.17.0",
        ],
        "report": ["matplotlib"],
        "yarn": ["venv-pack"],
        "dev": [
            "duckdb",
            "h5py",
            "hypothesis",
            "import-linter",
            "jsonschema",
            "mypy",
            "pandas-stubs",
            "pre-commit",
            "pytest",
            "pytest-xdist",
            "ruff",
            "types-defusedxml",
            "types-pyyaml",
        ],
    },
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3.11",
        "Topic :: Scientific/Engineering :: GIS",
    ],
)
