#!/bin/sh
# Installs Anomaly VAE @VERSION@ beside this file, from wheels/ alone; can be repeated.
# PYTHON: the interpreter to take, if it is not found by itself.
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
if [ -n "${PYTHON:-}" ]; then set -- "$PYTHON"; else set -- python@PYTHON@ python3 python; fi
for python; do
    if "$python" -I -c "import sys; sys.exit(not sys.version.startswith('@PYTHON@.'))" 2>/dev/null
    then exec "$python" -I "$here/offline.py" install; fi
done
echo "error: none of these is a Python @PYTHON@: $*; install it, or name it: PYTHON=/path/to/python@PYTHON@ $0" >&2
exit 2
