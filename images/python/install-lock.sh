#!/bin/sh
# install-lock.sh ENVIRONMENT LOCK: the lock as it stands, wheels only, each checked by its hash; nothing is resolved.
# By uv; where that cannot be had, by pip. Both listen to pip's settings.
set -eu
environment=$1 lock=$2
options="--no-deps --require-hashes --only-binary :all:"
pip() { pip/bin/pip --no-input --disable-pip-version-check --quiet "$@"; }

by_uv() {
    [ -z "${PIP_INDEX_URL:-}" ] || export UV_DEFAULT_INDEX="$PIP_INDEX_URL"
    [ -z "${PIP_EXTRA_INDEX_URL:-}" ] || export UV_INDEX="$PIP_EXTRA_INDEX_URL"
    [ -z "${PIP_TRUSTED_HOST:-}" ] || export UV_INSECURE_HOST="$PIP_TRUSTED_HOST"
    export UV_INDEX_STRATEGY=unsafe-best-match
    pip install $options -r uv.lock &&
        pip/bin/uv pip install --no-config --python "$environment/bin/python" $options -r "$lock"
}

if ! by_uv; then
    echo "uv cannot do it here; pip takes some minutes"
    pip --python "$environment" install $options --no-compile -r "$lock"
fi
rm -f "$environment/.lock"  # uv's, which anybody may write to
