# Sourced by the runners: sets PYTHON to an interpreter that has the requirements, and PYTHONPATH to the project.
# An active virtual or conda environment is used as it is, and completed where a package is missing. Without one, .venv is
# used, or a python3 that has everything already; otherwise .venv is made once. It does nothing the second time.

AIM_FAIR_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
export PYTHONPATH="$AIM_FAIR_ROOT${PYTHONPATH:+:$PYTHONPATH}"

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# what PYTHON lacks of the requirements, on one line; nothing where it has all
missing_packages() {
    "$1" - "$AIM_FAIR_ROOT/requirements.txt" 2>/dev/null <<'PYTHON' || echo "the packages of requirements.txt"
import sys
from importlib.metadata import PackageNotFoundError, version
from packaging.requirements import Requirement

missing = []
for line in open(sys.argv[1]):
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
    local requirements="$AIM_FAIR_ROOT/requirements.txt"
    if "$PYTHON" -m pip --version >/dev/null 2>&1; then
        "$PYTHON" -m pip install --quiet --disable-pip-version-check -r "$requirements"
    elif command -v uv >/dev/null; then
        uv pip install --quiet --python "$PYTHON" -r "$requirements"
    elif "$PYTHON" -m ensurepip --upgrade >/dev/null 2>&1; then
        "$PYTHON" -m pip install --quiet --disable-pip-version-check -r "$requirements"
    else
        echo "error: $PYTHON lacks $(missing_packages "$PYTHON"), and there is neither pip nor uv to install them: install one," \
            "or the packages of requirements.txt by hand" >&2
        return 2
    fi
}

aim_fair_setup() {
    local requirements="$AIM_FAIR_ROOT/requirements.txt" environment="${VIRTUAL_ENV:-${CONDA_PREFIX:-}}" candidate
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
    if [ -x "$PYTHON" ] && cmp -s "$requirements" "$marker"; then
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
        echo "setting up .venv (once; about 5 GB, a few minutes) ..."
        "$found" -m venv "$environment" || "$found" -m venv --without-pip "$environment" || return 2
    elif ! is_new_enough "$PYTHON"; then
        echo "error: $PYTHON is older than Python 3.11; activate a newer environment, or none" >&2
        return 2
    fi
    if [ -n "$(missing_packages "$PYTHON")" ]; then
        echo "installing the packages of requirements.txt for $PYTHON ..."
        install_packages || return 2
    fi
    cp "$requirements" "$marker" 2>/dev/null || true  # an environment that may not be written to is looked at each time
}

aim_fair_setup || exit 2
