# Everything from nothing: needs only Python 3.11 or newer and make.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-all test-slow test-faults lint docs wheel bundle report-detection report-calibration report-precision report-sensitivity report-kinds report-speed report-gpu report-page report-detail report-vae report-diffusion report-volumes report-augmentation distil clean

demo: .venv/ready
	$(BIN)/anomaly-vae demo --out demo --overwrite

# Every day: minutes.
test: .venv/ready lint
	$(BIN)/pytest -n auto -m "not slow and not exhaustive"

# Before a release: everything, with coverage.
test-all: .venv/ready lint
	$(BIN)/pytest -n auto -m "not exhaustive" --cov --cov-report=term --cov-fail-under=95

# What "make test" leaves out, but for the next.
test-slow: .venv/ready
	$(BIN)/pytest -n auto -m slow

# Each write, rename and removal of calibrate, train and export fails in turn: 20 minutes.
test-faults: .venv/ready
	$(BIN)/pytest -n auto -m exhaustive

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The documentation as a site, in docs/site.
docs: .venv/ready
	$(BIN)/python docs/commands.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --config-file docs/mkdocs.yml

# By way of the source archive, so that nothing stale in build/ gets in.
wheel: .venv/ready
	$(BIN)/uv build --quiet --out-dir dist

# For a PC without network. MODEL: model.onnx of a run; optional: SYSTEM (linux, windows),
# PYTHON_VERSION (such as 3.11), OUT (the zip), OVERWRITE=1.
bundle: .venv/ready
	$(BIN)/python -m configs.deploy.bundle "$(MODEL)" $(if $(SYSTEM),--system "$(SYSTEM)") $(if $(PYTHON_VERSION),--python-version "$(PYTHON_VERSION)") $(if $(OUT),--out "$(OUT)") $(if $(OVERWRITE),--overwrite)

# DATA: folder of data sets, WEIGHTS: of a ResNet-18, PEERS: Python with anomalib (optional).
report-detection: .venv/ready
	$(BIN)/python reports/detection.py $(DATA) $(WEIGHTS) $(if $(PEERS),--peers $(PEERS))

# DATA: as above, RUNS: a run folder for each data set, of the same name.
report-calibration: .venv/ready
	$(BIN)/python reports/calibration.py $(DATA) $(RUNS)

# DATA: as above, RUN18, RUN_PIXELS, RUN_SMALL: runs on bottle, see the script.
report-speed: .venv/ready
	$(BIN)/python reports/speed.py $(DATA) $(RUN18) $(RUN_PIXELS) $(RUN_SMALL) $(if $(PEERS),--peers $(PEERS) --weights $(WEIGHTS))

# DATA: as above, RUN18, RUN_PIXELS: runs on bottle. Needs an NVIDIA GPU.
report-gpu: .venv/ready
	$(BIN)/python reports/gpu.py $(DATA)/bottle/test $(RUN18) $(RUN_PIXELS)

# DATA: as above, RUNS: run folders called NAME_anything, for the data set NAME.
report-precision: .venv/ready
	$(BIN)/python reports/precision.py $(DATA) $(RUNS)

# DATA: as above, RUNS: run folders called NAME or NAME_anything, for the data set NAME.
report-sensitivity: .venv/ready
	$(BIN)/python reports/sensitivity.py $(DATA) $(RUNS)

# RUNS: pairs RUN=DATA of a run folder and its data set.
report-kinds: .venv/ready
	$(BIN)/python reports/kinds.py $(RUNS)

# DATA: as above, RUN_PIXELS: a run of pixels on bottle. Needs Chromium.
report-page: .venv/ready
	$(BIN)/python reports/page.py $(DATA) $(RUN_PIXELS)

# DATA, WEIGHTS: as above, WORK: folder where trainings are kept.
report-vae: .venv/ready
	$(BIN)/python reports/vae.py $(DATA) $(WEIGHTS) --work $(WORK)

report-diffusion: .venv/ready
	$(BIN)/python reports/diffusion.py $(DATA) $(WEIGHTS) --work $(WORK)

report-volumes: .venv/ready
	$(BIN)/python reports/volumes.py --work $(WORK)

# DATA: one or more data sets.
report-augmentation: .venv/ready
	$(BIN)/python reports/augmentation.py $(DATA)

# DATA: one or more data sets; WEIGHTS: of a ResNet-18; WORK: folder for drawn parts and trainings.
report-detail: .venv/ready
	$(BIN)/python reports/detail.py $(WORK) $(DATA) --weights $(WEIGHTS)

# Our own trunk. PICTURES: folder of photographs, WEIGHTS: as above, OUT: file to make; optional:
# DEVICE (cuda), MINUTES (6.4), SEED (0).
distil: .venv/ready
	$(BIN)/anomaly-vae distill --out "$(OUT)" --pictures "$(PICTURES)" --weights "$(WEIGHTS)" --device $(if $(DEVICE),$(DEVICE),auto) --minutes $(if $(MINUTES),$(MINUTES),6.4) --seed $(if $(SEED),$(SEED),0)

# uv resolves and installs in seconds what takes pip minutes; it is fetched by pip first.
.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv demo dist docs/site
