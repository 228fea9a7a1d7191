# Sourced by the runners: sets PYTHON to an interpreter that has the requirements, and PYTHONPATH to the project. With -h or
# --help it prints the comment at the head of the runner instead, which needs no environment.
# The packages are those of requirements.txt and of the file AIM_FAIR_MORE (the tests' own).
# An active virtual or conda environment is used as it is, and completed where a package is missing. Without one, .venv is
# used, or a python3 that has everything already; otherwise .venv is made once. It does nothing the second time.

# who closes standard output or error wants the work all the same, and a file opened later must not get the messages
{ true <&0; } 2>/dev/null || exec </dev/null
{ true >&1; } 2>/dev/null || exec >/dev/null
{ true >&2; } 2>/dev/null || exec 2>/dev/null

for aim_fair_flag in "$@"; do
    case "$aim_fair_flag" in
        -h|--help) awk 'NR > 1 && !/^#/ { if (seen) exit; next } NR > 1 { seen = 1; sub(/^# ?/, ""); print }' "$0"; exit 0 ;;
    esac
done
case "$(uname -s)" in
    MINGW*|MSYS*|CYGWIN*) echo "error: this needs Linux or macOS; on Windows run it in WSL, the Windows Subsystem for Linux" >&2; exit 2 ;;
esac

# Print a message. If its reader has gone the work goes on: bash would end at a broken pipe.
say() { echo "$@" 2>/dev/null || exec >/dev/null; }
trap '' PIPE

# Run a stage and wait for it; if this shell is told to stop, so is the stage, and the shell ends when the stage has saved.
# It runs in the background, since bash hears no signal while it waits for anything else.
run() {
    local status=0
    "$@" <&0 &
    while wait $! || status=$?; [ -n "$(jobs -pr)" ]; do status=0; done
    if [ -n "$AIM_FAIR_STOPPED" ]; then exit "$AIM_FAIR_STOPPED"; fi
    return $status
}
aim_fair_stop() {
    AIM_FAIR_STOPPED="$1"
    # shellcheck disable=SC2046
    kill -TERM $(jobs -pr) 2>/dev/null || exit "$1"
}
AIM_FAIR_STOPPED=""
trap 'aim_fair_stop 129' HUP
trap 'aim_fair_stop 130' INT
trap 'aim_fair_stop 143' TERM

AIM_FAIR_ROOT="$(CDPATH="" cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
export PYTHONPATH="$AIM_FAIR_ROOT${PYTHONPATH:+:$PYTHONPATH}"

AIM_FAIR_FILES=("$AIM_FAIR_ROOT/requirements.txt" ${AIM_FAIR_MORE:+"$AIM_FAIR_ROOT/$AIM_FAIR_MORE"})

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# what PYTHON lacks of the requirements, on one line; nothing where it has all
missing_packages() {
    "$1" - "${AIM_FAIR_FILES[@]}" 2>/dev/null <<'PYTHON' || echo "the packages of requirements.txt"
import sys
from importlib.metadata import PackageNotFoundError, version
from packaging.requirements import Requirement

missing = []
for line in [line for path in sys.argv[1:] for line in open(path)]:
    if line.partition("#")[0].strip():
        wanted = Requirement(line.partition("#")[0].strip())
        try:
            if not wanted.specifier.contains(version(wanted.name), prereleases=True):
                missing.append(f"{wanted} (there is {version(wanted.name)})")
        except PackageNotFoundError:
            missing.append(str(wanted))
print(", ".join(missing))
PYTHON
}

# install the requirements with what the environment or the machine has: pip, uv, or the pip that Python brings
install_packages() {
    local files=() file
    for file in "${AIM_FAIR_FILES[@]}"; do files+=(-r "$file"); done
    if "$PYTHON" -m pip --version >/dev/null 2>&1; then
        run "$PYTHON" -m pip install --quiet --disable-pip-version-check "${files[@]}"
    elif command -v uv >/dev/null; then
        run uv pip install --quiet --python "$PYTHON" "${files[@]}"
    elif "$PYTHON" -m ensurepip --upgrade >/dev/null 2>&1; then
        run "$PYTHON" -m pip install --quiet --disable-pip-version-check "${files[@]}"
    else
        echo "error: $PYTHON lacks $(missing_packages "$PYTHON"), and there is neither pip nor uv to install them: install one," \
            "or the packages of requirements.txt by hand" >&2
        return 2
    fi
}

aim_fair_setup() {
    local environment="${VIRTUAL_ENV:-${CONDA_PREFIX:-}}" candidate
    if [ -n "$environment" ]; then
        PYTHON="$environment/bin/python"
        if [ ! -x "$PYTHON" ]; then
            echo "error: the active environment $environment has no bin/python; deactivate it, or activate another one" >&2
            return 2
        fi
    else
        environment="$AIM_FAIR_ROOT/.venv"
        PYTHON="$environment/bin/python"
    fi
    local marker="$environment/.aim-fair-requirements"
    # the runners need no more than the tests do, so a marker of those serves them too
    if [ -x "$PYTHON" ] && [ -f "$marker" ] && [ -z "$(cat "${AIM_FAIR_FILES[@]}" | grep -vxFf "$marker")" ]; then
        return
    fi
    if [ ! -x "$PYTHON" ]; then
        local found=""
        for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
            if is_new_enough "$candidate"; then found="$candidate"; break; fi
        done
        if [ -z "$found" ]; then
            echo "error: no Python 3.11 or newer found; install one, or activate an environment that has it" >&2
            return 2
        fi
        if [ -z "$(missing_packages "$found")" ]; then
            PYTHON="$(command -v "$found")"
            return
        fi
        say "setting up .venv (once; about 5 GB, a few minutes) ..."
        "$found" -m venv "$environment" || "$found" -m venv --without-pip "$environment" || return 2
    elif ! is_new_enough "$PYTHON"; then
        echo "error: $PYTHON is older than Python 3.11; activate a newer environment, or none" >&2
        return 2
    fi
    if [ -n "$(missing_packages "$PYTHON")" ]; then
        say "installing the packages of requirements.txt ${AIM_FAIR_MORE:-} for $PYTHON ..."
        install_packages || return 2
    fi
    cat "${AIM_FAIR_FILES[@]}" 2>/dev/null > "$marker" || true  # an environment that may not be written to is looked at each time
}

aim_fair_setup || exit 2
