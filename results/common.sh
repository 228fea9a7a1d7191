# Sourced by the table scripts: reads their flags, runs the columns of a table, and remakes the tables.
#
#   --dataset toy|celeba|utkface|csv   (toy) where the real images come from
#   --pairs "PAIR ..."                 other columns than the table's own
#   --output DIR                       (results/runs/tables/<dataset>) the records, a folder for each column
#   --number-train-data-real N         (20000; toy: 800)
# Every other flag goes to runner.sh: --real-data-path, --seeds, --model, --weights, --precision ...
# A row that is recorded is not run again, so an interrupted script goes on and scripts share what they can.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../utils/setup.sh"
cd "$AIM_FAIR_ROOT"

dataset=toy pairs="" output="" real="" flags=()
while [ $# -gt 0 ]; do
    case "$1" in
        -h|--help) sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;;
        --dataset|--pairs|--output|--number-train-data-real)
            [ $# -gt 1 ] || { echo "error: $1 needs a value" >&2; exit 2; }
            case "$1" in
                --dataset) dataset="$2" ;;
                --pairs) pairs="$2" ;;
                --output) output="$2" ;;
                *) real="$2" ;;
            esac
            shift 2 ;;
        *) flags+=("$1"); shift ;;
    esac
done
output="${output:-results/runs/tables/$dataset}"

if [ "$dataset" = toy ]; then
    # small enough that all tables together take about an hour on two cores, large enough that ERM is biased
    real="${real:-800}"
    toy=results/runs/toy/real_small
    "$PYTHON" -m datasets.toy --output "$toy" --train 4000 --val 300 --test 1000
    flags=(--real-data-path "$toy" --image-size 32 --batch-size 32 --number-balanced-synthetic 200
        --number-imbalanced-synthetic 800 --number-held-out-synthetic 100 --pre-train-epochs 8 --pre-train-lr 0.02
        --fine-tune-epochs 4 --fine-tune-lr 0.02 --milestones 6 --seeds 100 200 300 --precision fp32
        ${flags[@]+"${flags[@]}"})
fi
real="${real:-20000}"

# column NAME PAIR IMAGES_PER_CELL METHOD ... : train the methods of a column. IMAGES_PER_CELL is that of the toy faces.
column() {
    local name="$1" pair="$2" images=()
    if [ "$dataset" = toy ]; then images=(--images-per-cell "$3"); fi
    shift 3
    bash runner.sh --dataset "$dataset" --target-sensitive "$pair" --output "$output/$name" \
        ${images[@]+"${images[@]}"} --methods "$@" --number-train-data-real "${column_real:-$real}" \
        ${flags[@]+"${flags[@]}"}
}

# the pairs of a table: those of --pairs, or one of its own lists
pairs_or() { echo "${pairs:-$1}"; }

remake_tables() {  # of all data sets that have records there
    "$PYTHON" -m results.tables --records "$(dirname "$output")" --output "$(dirname "$output")_made"
}
