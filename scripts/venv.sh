# Sourced by the other scripts: makes or reuses .venv beside them, with the package and an extra.
# Usage: prepare_venv [EXTRA]
prepare_venv() {
    local root extra="${1:-}" stamp wanted
    root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
    cd "$root"
    if [ ! -x .venv/bin/python ]; then
        "${PYTHON:-python3.11}" -m venv .venv || {
            echo "Python 3.11 with venv is needed (Debian: apt-get install python3.11 python3.11-venv)," >&2
            echo "or name another interpreter: PYTHON=/path/to/python bash $0" >&2
            return 1
        }
    fi
    # Installing again takes seconds even if nothing changed: do it only when the metadata did.
    stamp=".venv/installed${extra:+-$extra}"
    wanted="$(cat setup.cfg setup.py | sha256sum)"
    if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".${extra:+[$extra]}"
        echo "$wanted" > "$stamp"
    fi
}
