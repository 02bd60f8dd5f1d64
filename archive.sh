#!/usr/bin/env bash
# Packs the archives of a topology into the model store.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: ./archive.sh [options]

Packs what TorchServe serves into the model store. Archives that are there already are replaced once all the new
ones are built; those of another topology stay, and are not served.

  --topology T            split: encoder.mar, dit_decoder.mar and the workflow eden.war (default); fused: eden_fused.mar,
                          both halves in one worker per GPU; both; with each, autostart.mar, which registers them
  --checkpoint PATH       a folder with config.json and weights.safetensors, a .safetensors file beside its
                          config.json, or the published eden.pt (default: weights/demo)
  --in-place              do not pack the checkpoint: the archives name its absolute path, and the server reads it there
  --precision P           fp32, tf32 or bf16
  --handoff KIND          how tokens travel from encoder to dit_decoder: shared_memory, inline, auto, ...
  --batch-size N          requests that a node computes together, at most
  --max-batch-delay MS    milliseconds that a request waits for company, at each node
  --encoder-workers N     processes of the encoder
  --decoder-workers N     processes of dit_decoder
  --live                  register eden_fused a second time, as eden_live: workers and a queue of their own for calls
                          with X-Eden-Priority: live, which so never wait for others (the weights take memory twice)
  --fused-workers N       processes of eden_fused (default: as many as the host has GPUs, or one)
  --decoder-gpus A,B      the GPUs that they take in turn: 1,0 has every other one compute beside the encoder
  --set [MODEL:]KEY=VALUE any other setting under `handler:` in handlers/MODEL.yaml, or in all nodes',
                          e.g. --set handoff.wire=bf16 --set encoder:limits.max_pixels=1000000; may be repeated
  --output FOLDER         the model store (default: model_store)
  --help                  this text

What is not given stays as handlers/*.yaml and workflow/eden.yaml have it.
TEXT
}

fail() {
    echo "archive.sh: $*" >&2
    exit 1
}

invoked_from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"

checkpoint=weights/demo
output=model_store
in_place=
staging=()
while (($#)); do
    option=$1
    case $option in
        --help | -h) usage; exit ;;
        --in-place) in_place=yes; shift; continue ;;
        --live) staging+=("$option"); shift; continue ;;
        --checkpoint | --output | --topology | --fused-workers | --precision | --handoff | --batch-size | --max-batch-delay | \
            --encoder-workers | --decoder-workers | --decoder-gpus | --set)
            (($# >= 2)) || fail "$option needs a value (see --help)" ;;
        *) fail "unknown option $option (see --help)" ;;
    esac
    case $option in
        --checkpoint) checkpoint=$(cd "$invoked_from" && realpath -m -- "$2") ;;
        --output) output=$(cd "$invoked_from" && realpath -m -- "$2") ;;
        *) staging+=("$option" "$2") ;;
    esac
    shift 2
done

if [[ -x .venv/bin/python ]]; then
    PATH=$PWD/.venv/bin:$PATH
fi
for program in python torch-model-archiver torch-workflow-archiver; do
    command -v "$program" >/dev/null || fail "$program is missing: run \`make install\` first"
done
checkpoint=$(realpath -m -- "$checkpoint")
[[ -e $checkpoint ]] || fail "there is no checkpoint at $checkpoint"
mkdir -p "$output" || fail "cannot make the model store $output"

# In the model store's folder, so that the finished archives move there at once; both archivers work in $TMPDIR.
stage=$(mktemp -d "$output/.archive-XXXXXX")
trap 'rm -rf "$stage"' EXIT
export TMPDIR=$stage/tmp
mkdir "$TMPDIR" "$stage/done"

if [[ $in_place ]]; then
    staging+=(--checkpoint "$checkpoint")
fi
archives=$(python -m server.staging "$stage" "${staging[@]}") || fail "nothing was built"

pack() {
    local model=$1
    # zip-store: weights hardly shrink, and unpacking them stored is what a quick start needs
    torch-model-archiver --model-name "$model" --version 1.0 --handler "handlers/$model.py" \
        --extra-files "$stage/$model/files" --config-file "$stage/$model/model-config.yaml" \
        --archive-format zip-store --export-path "$stage/done" >"$stage/log" 2>&1 ||
        fail "torch-model-archiver failed for $model: $(tail -n 5 "$stage/log")"
}

split() {
    [[ $in_place ]] ||
        python -W ignore::RuntimeWarning:runpy -m eden.checkpoint split "$checkpoint" "$stage/$1/files/checkpoint" --half "$2" ||
        fail "cannot take the $2's tensors out of $checkpoint"
}

for archive in $archives; do
    case $archive in
        encoder.mar) split encoder encoder ;;
        dit_decoder.mar) split dit_decoder decoder ;;
        eden_fused.mar) split eden_fused both ;;
    esac
    if [[ $archive == *.mar ]]; then
        pack "${archive%.mar}"
    else
        torch-workflow-archiver --workflow-name eden --spec-file "$stage/workflow/eden.yaml" \
            --handler "$stage/workflow/no_functions.py" --export-path "$stage/done" >"$stage/log" 2>&1 ||
            fail "torch-workflow-archiver failed: $(tail -n 5 "$stage/log")"
    fi
done

mv -f "$stage"/done/* "$output"
# shellcheck disable=SC2086
(cd "$output" && ls -sh1 $archives)
echo "built in $output from $checkpoint"
