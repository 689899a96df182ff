#!/bin/sh
# Takes out of the Python environments what runs nothing: tests, headers, remote file systems.
set -eu
cd /opt

find . -depth -type d \( -name tests -o -name test -o -name include \) -path '*/site-packages/*/*' -exec rm -rf {} +
find . -type f \( -name '*.pyi' -o -name '*.pxd' -o -name '*.pyx' -o -name '*.a' \) -delete
rm -rf kernel/share/jupyter/labextensions kernel/share/jupyter/nbextensions kernel/etc/jupyter

cd kernel/lib/python3.13/site-packages/pyarrow
rm -f libarrow_flight.* libarrow_python_flight.* _flight* libarrow_s3.* _s3fs.*
