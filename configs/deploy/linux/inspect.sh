#!/bin/sh
# Inspects a folder of photographs; what follows the folder goes to anomaly-vae inspect.
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
if [ ! -x "$here/.venv/bin/python" ]; then
    echo "error: nothing is installed in $here yet; run install.sh first" >&2
    exit 2
fi
exec "$here/.venv/bin/python" -I "$here/offline.py" inspect "$@"
