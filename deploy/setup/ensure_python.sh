#!/bin/sh
# Prints the path of a Python 3.11 or newer that can make virtual environments; as root it installs what is missing.
set -eu

say() { echo "$*" >&2; }
is_recent() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
has_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

find_python() {
    for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null && is_recent "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    say "error: Python 3.11 or newer is needed; set PYTHON to its path if it is not called python3."
    exit 1
}

install_venv() {
    version=$("$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        say "error: $1 cannot make virtual environments; run as root: apt-get install $version"
        exit 1
    fi
    say "Installing $version"
    apt-get update -q >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$version" >&2
}

python=$(find_python)
has_venv "$python" || install_venv "$python"
echo "$python"
