#!/usr/bin/env bash
# Check a GPU with the stripped binary, on a machine that has nothing else of this project:
#
#     cargo build --release --features cuda && mkdir gpu && cp target/release/smalti tests/gpu.sh gpu
#     strip gpu/smalti && gpu/gpu.sh [RESULTS]
#
# Copy the folder to the machine; `xz gpu/smalti` reduces it to a quarter, and this script unpacks it.
# With `--features nccl` instead, which needs NCCL's library too, it also checks gradients through NCCL.
#
# It compares every operation with the CPU's and the losses of a short training of each modality with the CPU's, runs the
# benchmark, and runs the same loads in PyTorch if PyTorch and torch_train.py are there. It needs the driver and CUDA 13's
# cuBLAS, cuRAND, NVRTC and runtime: from LD_LIBRARY_PATH, PyTorch or a toolkit. The exit code is 1 if a check fails.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
results=$(mkdir -p "${1:-$here/results}" && cd "${1:-$here/results}" && pwd)
failed=0
smalti=$here/smalti
if [[ -e $smalti.xz ]]; then
  python3 -c 'import lzma, shutil, sys; shutil.copyfileobj(lzma.open(sys.argv[1]), open(sys.argv[2], "wb"))' \
    "$smalti.xz" "$results/smalti" || exit 1
  smalti=$results/smalti
  chmod +x "$smalti"
fi

libraries() {
  python3 - <<'PYTHON' 2>/dev/null
import glob, sysconfig
print(":".join(sorted(glob.glob(sysconfig.get_paths()["purelib"] + "/nvidia/*/lib"))))
PYTHON
}
export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:-}:$(libraries):/usr/local/cuda/lib64"

step() { printf '\n== %s (%s s)\n' "$1" "$SECONDS"; }
fail() { printf 'FAILED: %s\n' "$1"; failed=1; }

step "operations against the CPU"
"$smalti" bench ops --device cuda >"$results/operations.txt" 2>"$results/operations.log" ||
  fail "$(tail -n 1 "$results/operations.log")"
grep -c passes "$results/operations.txt" | sed 's/$/ checks passed/'
grep -q passes "$results/operations.txt" || exit 1 # no GPU, or no library for it
grep FAILS "$results/operations.txt"

# Print the losses of a training, one step a line.
losses() { sed -n '/"eval"/d; s/.*"loss":\([-+0-9.e]*\),.*"step".*/\1/p' "$1/metrics.jsonl"; }

# train NAME PRESET --device=D SETTINGS…: a short training that logs every step. The learning rate warms up over all steps:
# at its maximum a rounding difference may grow tenfold in a step.
train() {
  local run=$results/$1 preset=$2
  shift 2
  rm -rf "$run"
  "$smalti" train "$preset" --out "$run" --set train.max_steps=20 --set train.warmup_steps=20 \
    --set train.log_every=1 --set train.eval_samples=64 "$@" >"$run.log" 2>&1 || fail "$(tail -n 1 "$run.log")"
}

# compare A B MOST: check the mean relative difference between the losses of two trainings. Not the maximum: on some batches
# a rounding difference changes the loss much.
compare() {
  paste <(losses "$results/$1") <(losses "$results/$2") | awk -v most="$3" -v of="$2 against $1" '
    NF == 2 { d = ($1 - $2) / $1; d = d < 0 ? -d : d; if (d > worst) worst = d; sum += d; n++ }
    END {
      mean = n ? sum / n : 0
      printf "%-38s %d losses, mean difference %.1e (limit %s), maximum %.1e\n", of, n, mean, most, worst
      exit !(n == 20 && mean <= most)
    }
  ' || fail "$2"
}

step "training of each modality"
for preset in text image audio trajectory mix; do
  train "$preset-cpu" "$preset" --device=cpu
  train "$preset-f32" "$preset" --device=cuda
  train "$preset-bf16" "$preset" --device=cuda --set 'train.precision="bf16"'
  compare "$preset-cpu" "$preset-f32" 1e-4
  compare "$preset-cpu" "$preset-bf16" 1e-2
done

# If the binary has the feature `nccl`: one GPU with NCCL, and two GPUs against one with twice the accumulation steps.
if [[ $(ldd "$smalti") == *libnccl* ]]; then
  step "gradients through NCCL"
  train text-nccl text --devices=0
  compare text-f32 text-nccl 1e-6
  if (($(nvidia-smi --list-gpus 2>/dev/null | wc -l) > 1)); then
    train mix-twice mix --device=cuda --set train.gradient_accumulation_steps=2
    train mix-two mix --devices=0,1
    compare mix-twice mix-two 1e-5
  fi
fi

loads="gpt2-124m vit-s16 audio trajectory"
step "benchmark"
for load in $loads; do
  "$smalti" bench "$load" --device cuda --precision bf16 --json >"$results/$load.json" || fail "$load"
  sed -n 's/.*"\(load\|step_ms\|tokens_per_s\|gflop_per_s\|share_of_peak\)": *\([^,]*\),*/\1 \2/p' "$results/$load.json" | paste -sd' '
done
if [[ -e $here/torch_train.py ]] && python3 -c 'import torch' 2>/dev/null; then
  for mode in eager compile; do
    for load in $loads; do
      python3 "$here/torch_train.py" "$load" --mode "$mode" --device cuda --dtype bf16 2>>"$results/torch.log" ||
        fail "torch $load $mode"
    done
  done
fi
step "end"
exit "$failed"
