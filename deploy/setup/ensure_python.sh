#!/bin/sh
# Prints the path of a Python 3.11 or newer that can make virtual environments; as root it installs what is missing.
set -eu

log=$(pwd)/.setup/python.log
quietly() { DEBIAN_FRONTEND=noninteractive "$@" >>"$log" 2>&1; }
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
    mkdir -p .setup
    if ! quietly apt-get update -q || ! quietly apt-get install -qy --no-install-recommends "$version"; then
        tail -n 15 "$log" >&2
        say "error: $version was not installed. The whole log is in $log"
        exit 1
    fi
}

python=$(find_python)
has_venv "$python" || install_venv "$python"
echo "$python"
