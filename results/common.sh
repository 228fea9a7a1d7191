# Sourced by the table scripts: reads their flags, runs the columns of a table, and remakes the tables.
#
#   --dataset toy|celeba|utkface|csv   (toy) where the real images come from
#   --pairs "PAIR ..."                 other columns than the table's own
#   --output DIR                       (results/runs/tables/<dataset>) the records, a folder for each column
#   --number-train-data-real N         (train.py's; toy: 1600)
# Every other flag goes to runner.sh: --real-data-path, --seeds, --model, --weights, --precision ...
# A row that is recorded is not run again, so an interrupted script goes on and scripts share what they can.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../utils/setup.sh"

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
output="${output:-$AIM_FAIR_ROOT/results/runs/tables/$dataset}"

if [ "$dataset" = toy ]; then
    # far fewer images than the paper's, so smaller batches: it is the number of steps that a network needs
    real="${real:-1600}"
    flags=(--synthetic-data-root "$AIM_FAIR_ROOT/results/runs/toy/synthetic_of_tables" --scheduler dpmpp --steps 6
        --width 0.25 --batch-size 32 --number-balanced-synthetic 400 --number-imbalanced-synthetic 800
        --number-held-out-synthetic 200 --pre-train-epochs 10 --pre-train-lr 0.02 --fine-tune-epochs 4 --fine-tune-lr 0.03
        --precision fp32 --seeds 100 200 300 ${flags[@]+"${flags[@]}"})
fi

# the pairs of the paper's columns that a data set has
case "$dataset" in
    celeba) own_pairs="Smiling_Male Smiling_Young" ;;
    utkface) own_pairs=Female_White ;;
    *) own_pairs=Smiling_Male ;;
esac

# column NAME PAIR METHOD ... FLAG ... : train the methods of a column. Draws depend on how many synthetic images there
# are, so all scripts generate the same number for a pair: 1000 toy faces a cell, for ratio 2 and those held out. The
# other prompt types of table 5 have their own images, and fewer.
column() {
    local name="$1" pair="$2" images=() number="${column_real:-$real}"
    if [ "$dataset" = toy ]; then images=(--images-per-cell "${column_images:-1000}"); fi
    shift 2
    bash "$AIM_FAIR_ROOT/runner.sh" --dataset "$dataset" --target-sensitive "$pair" --output "$output/$name" \
        ${images[@]+"${images[@]}"} --methods "$@" ${number:+--number-train-data-real "$number"} ${flags[@]+"${flags[@]}"}
}

# the pairs of a table: those of --pairs, or one of its own lists
pairs_or() { echo "${pairs:-$1}"; }

# remake the tables of every data set that has records beside this one's
remake_tables() {
    "$PYTHON" -m results.tables --records "$(dirname "$output")" --output "$(dirname "$output")_made"
}
