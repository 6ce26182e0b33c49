# make demo        the main job on an embedded archive, ending in a report page
# make demo-polar  the same of sea ice
# make test        all checks and tests
# make test-cluster  jobs on a real HDFS, S3 and YARN that the tests start
# make test-kubernetes  the same on a real Kubernetes, which takes root
# Both set everything up first; `make setup` alone does that and no more.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
unexport PYTHONPATH
# Compiled modules start a job in half the time.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo demo-polar study study-polar bench bench-scale test test-cluster test-kubernetes test-nights unit check lock clean
setup: $(VENV)/.ready

$(VENV)/.ready: requirements/build.lock requirements/run.lock requirements/horovod.lock deploy/bootstrap.py deploy/conf/spark-small.conf setup.py
	@command -v $(PYTHON) >/dev/null || { echo "setup: needs Python 3.11, found no $(PYTHON); install it, or name one: make setup PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) deploy/bootstrap.py $(VENV) $(if $(GPU),--gpu)
	@touch $@

demo: setup
	@$(BIN)/python deploy/demo.py

demo-polar: setup
	@$(BIN)/python deploy/demo.py polar

# Models x seeds, about an hour; `deploy/study.py --store` then puts the results into the docs.
study: setup
	@$(BIN)/python deploy/study.py

# Networks of ice x seeds, about an hour and a half; `deploy/study_ice.py --store` then puts the results into the docs.
study-polar: setup
	@$(BIN)/python deploy/study_ice.py

# All benchmarks, some hours; `make bench ONLY=feed`, `make bench ONLY="extraction clouds" ARGS="--runs 3"`. Results go to build/bench;
# `python -m benchmarks.page --store` then puts them into the docs.
bench: setup
	@$(BIN)/python -m benchmarks $(ONLY) $(if $(ARGS),-- $(ARGS))

# The catchment in metadata (118 tiles, 2 million parcels) and small tiles on more cores; half an hour and 1.5 GB of disk.
# `python -m benchmarks.scaling_page --store` then puts the results into docs/scaling.md.
bench-scale: setup
	@$(BIN)/python -m benchmarks.scale
	@$(BIN)/python -m benchmarks.growth

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: setup
	$(BIN)/python -m pytest tests/unit -q

# In two halves at the same time, whose logs are in build/tests.
test: check
	@$(BIN)/python deploy/run_tests.py

# Each with servers of its own, one after the other: two cores carry one cluster.
test-cluster: setup
	@for one in hdfs s3 yarn; do $(BIN)/python -m pytest tests/cluster/test_$$one.py || exit 1; done

# Half an hour the first time, for Kubernetes and the image are built; where root or namespaces are missing it says so and skips.
test-kubernetes: setup
	@$(BIN)/python -m pytest tests/kubernetes

# A year of nights on the demo's archive beside one run over all of it, and Airflow's nights with the jobs themselves.
test-nights: setup
	@$(BIN)/python -m pytest tests/nights

# Locks hold hashes and no host names.
lock: setup
	$(BIN)/uv pip compile --quiet requirements/run.in --python-version 3.11 --python-platform x86_64-manylinux_2_28 --generate-hashes --no-header -o requirements/run.lock
	$(BIN)/uv pip compile --quiet requirements/gpu.in --python-version 3.11 --python-platform x86_64-manylinux_2_28 --generate-hashes --no-header -o requirements/gpu.lock
	$(BIN)/uv pip compile --quiet requirements/build.in --python-version 3.11 --generate-hashes --no-header -o requirements/build.lock
	$(BIN)/uv pip compile --quiet requirements/oracle.in --python-version 3.11 --python-platform x86_64-manylinux_2_28 --generate-hashes --no-header -o requirements/oracle.lock
	$(BIN)/uv pip compile --quiet requirements/airflow.in --python-version 3.11 --python-platform x86_64-manylinux_2_28 --generate-hashes --no-header -o requirements/airflow.lock
	$(BIN)/uv pip compile --quiet requirements/horovod.in --no-deps --python-version 3.11 --generate-hashes --no-header -o requirements/horovod.lock

clean:
	rm -rf build
