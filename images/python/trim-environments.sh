#!/bin/sh
# Takes out of the Python environments what runs nothing: tests, headers, symbols, remote file systems, what browsers
# show widgets with, a debugger that nothing can reach.
set -eu
cd /opt

find . -depth -type d \( -name tests -o -name test -o -name include \) -path '*/site-packages/*/*' -exec rm -rf {} +
find . -type f \( -name '*.pyi' -o -name '*.pxd' -o -name '*.pyx' -o -name '*.pxi' -o -name '*.a' \) -delete
rm -rf kernel/share/jupyter/labextensions kernel/share/jupyter/nbextensions kernel/etc/jupyter

cd kernel/lib/python3.13/site-packages
rm -rf *.dist-info/sboms debugpy jedi/third_party/django-stubs sqlalchemy/testing widgetsnbextension/static \
    plotly/labextension plotly/package_data/widgetbundle.js
(cd pyarrow && rm -f libarrow_flight.* libarrow_python_flight.* libarrow_s3.* _flight* _s3fs.* libarrow_python*.so.*.*)

# What two packages bring is there once: PROJ's tables, and linear algebra, for which Debian's small one is enough.
ln -sf ../../pyproj/proj_dir/share/proj/proj.db pyogrio/proj_data/proj.db
(cd opencv_python_headless.libs && ln -sf /usr/lib/x86_64-linux-gnu/lapack/liblapack.so.3 libopenblas*.so \
    && rm libgfortran-* libquadmath-*)

# strip says no to a library that it would break, and leaves it as it was.
find . -name '*.so*' -type f -size +64k -exec sh -c 'strip --strip-unneeded "$1" || true' sh {} \;
