#!/usr/bin/env bash
# Run all of AIM-Fair with one command: data, prompts, synthetic faces, biased training, selective fine-tuning, report.
#
#   bash runner.sh
#       drawn toy faces and the small generator of this repository; two to six minutes on two CPU cores
#   bash runner.sh --dataset celeba --real-data-path DIR --target-sensitive Smiling_Male
#       the paper's experiment: CelebA, Stable Diffusion 2.1-base, ten seeds, on one CUDA GPU
#   bash runner.sh --dataset utkface --real-data-path DIR --target-sensitive Female_White
#   bash runner.sh --dataset parquet --real-data-path DIR --target-sensitive Smiling_Male   # CelebA or FairFace from the hub
#   bash runner.sh --dataset csv --real-data-path FILE.csv --target-sensitive Cat_Bright
#       other faces, and your own images
#
# Add --dry-run to check everything and to estimate time, disk space and memory first.
#
# Flags of train.py and of stable_diffusion/generate.py are passed on. --target-sensitive, --prompt-type, --device,
# --compile, --workers and --submit go to both. --model, --prompts, --images-per-cell, --steps, --guidance-scale, --guidance-until, --scheduler,
# --prediction, --fast, --fuse-projections, --size, --save-size, --offload, --vae-slicing, --vae-tiling and, as
# --generation-batch-size, --generation-seed and --generation-precision, go to generation. All other flags go to training.
# With --synthetic-data-root FILE.csv nothing is generated: the images listed in the file replace the synthetic ones.
# Finished stages are skipped. Only the summary and the report are ever overwritten.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/utils/setup.sh"

fail() { echo "error: $*" >&2 || true; exit 2; }

typed="bash runner.sh"
if [ $# -gt 0 ]; then typed+="$(printf ' %q' "$@")"; fi
dry_run="" estimate="" dataset=toy network="" pair=Smiling_Male real_data="" runs="" output="" synthetic="" prompts="" chosen="" cache="" rows="" choose="" images="" prompt_type=contextual
both=() generation=() training=()
while [ $# -gt 0 ]; do
    flag="$1"; shift
    values=()
    if [[ "$flag" == --*=* ]]; then
        values=("${flag#*=}"); flag="${flag%%=*}"
    else
        while [ $# -gt 0 ] && [[ "$1" != --* ]]; do values+=("$1"); shift; done
    fi
    case "$flag" in
        --fast|--fuse-projections|--vae-slicing|--vae-tiling|--compile|--deterministic|--keep-last-batch|--dry-run|--no-estimate)
            [ ${#values[@]} -eq 0 ] || fail "$flag takes no value" ;;
        --*) [ ${#values[@]} -gt 0 ] || fail "$flag needs a value" ;;
        *) fail "unexpected argument $flag; see bash runner.sh --help" ;;
    esac
    case "$flag" in
        --dataset) dataset="${values[0]}" ;;
        --real-data-path) real_data="${values[0]}" ;;
        --synthetic-data-root) synthetic="${values[0]}" ;;
        --output) output="${values[0]}" ;;
        --cache) cache="${values[0]}" ;;
        --network) network="${values[0]}"; training+=("$flag" "${values[@]}") ;;
        --methods|--settings|--top-k)
            case " ${values[*]} " in *" auto "*|*=auto[\ ,]*) choose=1 ;; esac
            training+=("$flag" "${values[@]}") ;;
        --target-sensitive) pair="${values[0]}"; both+=("$flag" "${values[@]}") ;;
        --prompt-type) prompt_type="${values[0]}"; both+=("$flag" "${values[@]}") ;;
        --generation-prompt-type) prompt_type="${values[0]}"; generation+=(--prompt-type "${values[@]}") ;;
        --device|--workers|--submit) both+=("$flag" "${values[@]}") ;;
        --dry-run) dry_run=1 ;;
        --no-estimate) estimate=--no-estimate ;;
        --cost-rows) rows="${values[0]}" ;;
        --fast|--fuse-projections|--vae-slicing|--vae-tiling) generation+=("$flag") ;;
        --compile) both+=("$flag") ;;
        --deterministic|--keep-last-batch) training+=("$flag") ;;
        --images-per-cell) images="${values[0]}"; generation+=("$flag" "${values[@]}") ;;
        --values) chosen=1; training+=("$flag" "${values[@]}") ;;
        --prompts) prompts="${values[0]}"; generation+=("$flag" "${values[@]}") ;;
        --model|--steps|--guidance-scale|--guidance-until|--scheduler|--prediction|--size|--save-size|--offload)
            generation+=("$flag" "${values[@]}") ;;
        --generation-*) generation+=("--${flag#--generation-}" "${values[@]}") ;;
        *) training+=("$flag" "${values[@]}") ;;
    esac
done

if [ -z "$dry_run" ] && [ -n "$estimate$rows" ]; then fail "${estimate:---cost-rows} is for a dry run: add --dry-run, or leave it out"; fi

runs="$AIM_FAIR_ROOT/results/runs/$dataset" few="" draw=()
if [ -n "$dry_run" ]; then
    scratch="$(mktemp -d 2>/dev/null || TMPDIR=/tmp mktemp -d)"
    trap 'rm -rf "$scratch"' EXIT
fi
if [ "$dataset" = toy ]; then
    real_data="${real_data:-$runs/real}"
    if [ "$real_data" = "$runs/real" ]; then draw=(--output "$real_data"); fi
    if [ -n "$dry_run" ] && [ ${#draw[@]} -gt 0 ] && [ ! -e "$real_data/toy.json" ]; then
        few="$scratch/real" draw=(--output "$scratch/real" --few)
    fi
    images="${images:-200}"
    generation=(--model "$AIM_FAIR_ROOT/stable_diffusion/tiny" --images-per-cell "$images" --batch-size 50 --scheduler dpmpp
        --steps 8 --guidance-scale 3 --size 64 --save-size 64 ${generation[@]+"${generation[@]}"})
    # bf16 is twice as fast if the processor supports it, otherwise slow
    precision=fp32
    if grep -qsE 'avx512_bf16|amx_bf16' /proc/cpuinfo; then precision=bf16; fi
    # for few, small images: a narrow network that has seen such faces, crops that keep the mouth, smaller batches
    start=(--weights toy --width 0.25)
    if [ -n "$network" ] && [ "$network" != resnet18 ]; then start=(--weights none); fi
    # what chooses needs images that nothing is trained on: a quarter of the same ones
    held_out=()
    if [ -n "$choose" ]; then
        held_out=(--number-balanced-synthetic 150 --number-held-out-synthetic 50) output="${output:-$runs/train/${pair}_auto}"
    fi
    training=("${start[@]}" --image-size 48 --crop-scale 0.6 1 --number-train-data-real 1200
        --number-balanced-synthetic 200 --number-imbalanced-synthetic 400 --batch-size 64 --pre-train-epochs 7
        --pre-train-lr 0.02 --milestones 6 --fine-tune-epochs 5 --fine-tune-lr 0.02 --seeds 100 200 300
        --precision $precision ${held_out[@]+"${held_out[@]}"} ${training[@]+"${training[@]}"})
fi
synthetic="${synthetic:-$runs/synthetic}"
output="${output:-$runs/train/$pair}"
cache="${cache:-$runs/cache}"
listed=""
if [[ "$synthetic" == *.[cC][sS][vV] ]] || [ -f "$synthetic" ]; then listed=1; fi
generate=("$PYTHON" -m stable_diffusion.generate --outdir "$synthetic" ${both[@]+"${both[@]}"} ${generation[@]+"${generation[@]}"})
train=("$PYTHON" "$AIM_FAIR_ROOT/train.py" --dataset "$dataset" ${real_data:+--real-data-path "${few:-$real_data}"} --synthetic-data-root "$synthetic"
    --output "$output" --cache "$cache" ${both[@]+"${both[@]}"} ${training[@]+"${training[@]}"})

if [ -z "${OMP_NUM_THREADS:-}" ] && [ -r /proc/loadavg ] && awk -v cores="$(nproc)" '{ exit !($1 > cores / 2) }' /proc/loadavg; then
    say "note: other programs keep this machine busy (load $(cut -d' ' -f1 /proc/loadavg)); on a CPU fewer threads are then faster:" \
        "OMP_NUM_THREADS=1 bash runner.sh ... (docs/speed.md)"
fi
say "AIM-Fair on $dataset, $pair"
say "  real images       $real_data"
say "  synthetic images  $synthetic"
say "  records, summary  $output"

say; say "== 1/5 data"
if [ -n "$few" ]; then say "not drawn yet: for this dry run a few faces stand for all"; fi
if [ ${#draw[@]} -gt 0 ]; then run "$PYTHON" -m datasets.toy --train 7600 --val 800 --test 1600 "${draw[@]}"; fi

say; say "== 2/5 prompts and settings"
check=(--dry-run --no-estimate)  # the estimate takes seconds, so only --dry-run makes it
if [ -n "$dry_run" ] && [ -z "$estimate" ]; then check=(--dry-run --cost-rows "${rows:-$scratch/rows}"); fi
images="${images:-10500}" to_come=()  # generation's default; will they be enough?
if [ -z "$listed" ] && [[ "$images" =~ ^[1-9][0-9]*$ ]]; then to_come=(--images-to-come "$prompt_type=$images" ${prompts:+--prompts "$prompts"}); fi
there="$(for group in "$synthetic/$pair/$prompt_type"/*/; do { find "$group" -name '*.png' 2>/dev/null || true; } | wc -l; done | sort -n | sed -n 1p)"  # in the smallest group
if [ -n "$dry_run$chosen" ] || { [ -z "$listed" ] && ! [ "$there" -ge "$images" ] 2>/dev/null; }; then  # before hours of drawing
    run "${train[@]}" "${check[@]}" ${to_come[@]+"${to_come[@]}"}
else
    say "the images are there, so training begins at once, and checks them"
fi
if [ -n "$dry_run" ]; then
    if [ -z "$listed" ]; then run "${generate[@]}" "${check[@]}"; fi  # else generation itself checks first
    if [ -z "$estimate$rows" ]; then say; run "$PYTHON" -m utils.cost "$scratch/rows"; fi
    exit 0
fi

say; say "== 3/5 generation"
if [ -z "$listed" ]; then run "${generate[@]}"; else say "none: $synthetic takes its place"; fi

say; say "== 4/5 training, ranking, fine-tuning, summary"
run "${train[@]}"

say; say "== 5/5 report, model cards"
run "$PYTHON" -m results.report --runs "$output" --synthetic "$synthetic" ${real_data:+--real "$real_data"} \
    --command "$typed" --cards

say
say "Done. Report, for a browser: $output/report.html"
say "Summary: $output/summary.md"
say "Records, rankings of the tensors, weights with a model card: $output/<method>/seed_<n>/"
if [ -z "$listed" ]; then say "Synthetic images and contact sheets: $synthetic/<pair>/<prompt type>/"; fi
