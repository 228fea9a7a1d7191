# Sourced by the runners: sets PYTHON to an interpreter that has the requirements, and PYTHONPATH to the project.
# An active virtual or conda environment is used as it is (and completed where a package is missing); otherwise
# .venv is made once. It does nothing the second time.

AIM_FAIR_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
export PYTHONPATH="$AIM_FAIR_ROOT${PYTHONPATH:+:$PYTHONPATH}"

aim_fair_setup() {
    local requirements="$AIM_FAIR_ROOT/requirements.txt" marker
    if [ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ]; then
        PYTHON="$(command -v python)"
        marker="${VIRTUAL_ENV:-$CONDA_PREFIX}/.aim-fair-requirements"
    else
        PYTHON="$AIM_FAIR_ROOT/.venv/bin/python"
        marker="$AIM_FAIR_ROOT/.venv/.aim-fair-requirements"
    fi
    if cmp -s "$requirements" "$marker" && [ -x "$PYTHON" ]; then
        return
    fi
    if [ ! -x "$PYTHON" ]; then
        local found="" candidate
        for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
            if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
                found="$candidate"
                break
            fi
        done
        if [ -z "$found" ]; then
            echo "error: no Python 3.11 or newer found; install one, or activate an environment that has it" >&2
            return 2
        fi
        echo "setting up .venv (once; about 5 GB, a few minutes) ..."
        "$found" -m venv "$AIM_FAIR_ROOT/.venv" || return 2
    elif ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        echo "error: $PYTHON is older than Python 3.11; activate a newer environment, or none" >&2
        return 2
    fi
    echo "installing the packages of requirements.txt for $PYTHON ..."
    "$PYTHON" -m pip install --quiet --disable-pip-version-check -r "$requirements" || return 2
    cp "$requirements" "$marker"
}

aim_fair_setup || exit 2
