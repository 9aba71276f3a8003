#!/usr/bin/env bash
# Measures e2lm-hf and e2lm-vllm against lm-eval's hf and vllm on one GPU.
#
#   benchmarks/gpu.sh [--dry-run] [--items N] [--folder DIR] [--out DIR] [--tiny] [--families A,B]
#
# A Llama of 0.5 B parameters with random weights in bf16, 2,000 items of four choices behind five worked examples
# (about 600 tokens each); then the same with a tenth of the items for families whose weights are hard to replace in a
# live engine (a tied Llama, a mixture of experts, sliding windows), where e2lm-vllm starts with other weights and is
# given the right ones in place: its differences to hf and to a fresh vllm must be those of rounding. Prints requests/s, distinct tokens/s, the share of the bf16 roofline that the distinct tokens
# use, and the largest differences of log-likelihoods; hf at two batch sizes shows how far half precision is from itself.
# Results go to benchmarks/results/gpu-<device>[-<family>].json. Needs no network. PYTHON names an interpreter with e2lm, lm-eval
# and torch (default: python3); where it has no vLLM, those two are left out. --dry-run prints the commands only.
# --tiny takes a model of 1 M parameters and also runs without a GPU, to see that every step works.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
python="${PYTHON:-python3}"
dry=0 items=2000 folder="" out="$here/results" tiny="" families="llama-tied,olmoe,gemma3"
while [ $# -gt 0 ]; do
  case "$1" in
    --dry-run) dry=1 ;;
    --items) items="$2"; shift ;;
    --folder) folder="$2"; shift ;;
    --out) out="$2"; shift ;;
    --tiny) tiny="--tiny" ;;
    --families) families="$2"; shift ;;
    *) echo "gpu.sh: unknown option '$1'; known: --dry-run --items --folder --out --tiny --families" >&2; exit 2 ;;
  esac
  shift
done
made=""
if [ -z "$folder" ]; then
  if [ "$dry" = 1 ]; then folder="${TMPDIR:-/tmp}/e2lm-gpu"; else folder="$(mktemp -d)"; made="$folder"; fi
fi
trap '[ -z "$made" ] || rm -rf "$made"' EXIT
# The repository itself is enough: no installation of e2lm is needed.
export PYTHONPATH="$here/../plugins:$here/../adapters:$here/../leaderboard:$here/..${PYTHONPATH:+:$PYTHONPATH}"

place="$folder/llama"
step() {
  if [ "$dry" = 1 ]; then printf '%q ' "$python" "$here/gpu_scoring.py" "$@" --folder "$place"; echo; return; fi
  "$python" "$here/gpu_scoring.py" "$@" --folder "$place"
}

dtype=bfloat16 graphs="" space=""
if [ "$dry" = 0 ] && ! "$python" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())'; then
  if [ -z "$tiny" ]; then
    echo "gpu.sh: $python sees no GPU; --dry-run prints the plan, --tiny tries every step on the CPU" >&2
    exit 2
  fi
  dtype=float32 graphs=",enforce_eager=True" space=",kv_cache_memory_bytes=1073741824"
fi

has_vllm=1
if [ "$dry" = 0 ] && ! "$python" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("vllm") is None)'; then
  has_vllm=0
  echo "gpu.sh: $python has no vLLM; e2lm-vllm and vllm are left out" >&2
fi
engine="dtype=$dtype,max_model_len=2048,gpu_memory_utilization=0.8"

step make --items "$items" $tiny
step score --label hf --model hf --model-args "dtype=$dtype" --batch-size 64
step score --label hf-batch-8 --model hf --model-args "dtype=$dtype" --batch-size 8
step score --label e2lm-hf --model e2lm-hf --model-args "dtype=$dtype,show_progress=False"
if [ "$has_vllm" = 1 ]; then
  step score --label vllm --model vllm --batch-size auto --model-args "$engine$graphs$space"
  step score --label e2lm-vllm --model e2lm-vllm --model-args "$engine,show_progress=False$space"
  # The way without chosen token ids, which older vLLMs take by themselves.
  VLLM_USE_V2_MODEL_RUNNER=0 step score --label e2lm-vllm-v1 --model e2lm-vllm \
    --model-args "$engine,show_progress=False$space"
fi
step compare --out "$out"

for family in ${families//,/ }; do
  place="$folder/$family"
  step make --items "$(((items + 9) / 10))" --family "$family" $tiny
  step score --label hf --model hf --model-args "dtype=$dtype" --batch-size 64
  step score --label hf-batch-8 --model hf --model-args "dtype=$dtype" --batch-size 8
  step score --label e2lm-hf --model e2lm-hf --model-args "dtype=$dtype,show_progress=False"
  if [ "$has_vllm" = 1 ]; then
    step score --label vllm --model vllm --batch-size auto --model-args "$engine$graphs$space"
    step score --label e2lm-vllm-reloaded --model e2lm-vllm --after-reload \
      --model-args "$engine,show_progress=False$space"
  fi
  step compare --out "$out" --family "$family"
done
