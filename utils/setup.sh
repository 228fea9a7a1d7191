# Sourced by the runners: sets PYTHON to an interpreter that has the requirements, and PYTHONPATH to the project.
# The packages are those of requirements.txt and of the file AIM_FAIR_MORE (the tests' own).
# An active virtual or conda environment is used as it is, and completed where a package is missing. Without one, .venv is
# used, or a python3 that has everything already; otherwise .venv is made once. It does nothing the second time.

AIM_FAIR_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
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
        "$PYTHON" -m pip install --quiet --disable-pip-version-check "${files[@]}"
    elif command -v uv >/dev/null; then
        uv pip install --quiet --python "$PYTHON" "${files[@]}"
    elif "$PYTHON" -m ensurepip --upgrade >/dev/null 2>&1; then
        "$PYTHON" -m pip install --quiet --disable-pip-version-check "${files[@]}"
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
        echo "setting up .venv (once; about 5 GB, a few minutes) ..."
        "$found" -m venv "$environment" || "$found" -m venv --without-pip "$environment" || return 2
    elif ! is_new_enough "$PYTHON"; then
        echo "error: $PYTHON is older than Python 3.11; activate a newer environment, or none" >&2
        return 2
    fi
    if [ -n "$(missing_packages "$PYTHON")" ]; then
        echo "installing the packages of requirements.txt ${AIM_FAIR_MORE:-} for $PYTHON ..."
        install_packages || return 2
    fi
    cat "${AIM_FAIR_FILES[@]}" 2>/dev/null > "$marker" || true  # an environment that may not be written to is looked at each time
}

aim_fair_setup || exit 2
