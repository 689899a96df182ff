#!/bin/sh
# Gives fonts the file names that programs know from other systems: same widths, so that a page breaks in the same places.
set -eu
cd /usr/share/fonts/truetype
mkdir msttcorefonts

# name TARGET NAME...
name() {
    target=$1
    shift
    for new in "$@"; do ln -sf "../$target" "msttcorefonts/$new"; done
}

name liberation/LiberationSans-Regular.ttf Arial.ttf arial.ttf Helvetica.ttf helvetica.ttf
name liberation/LiberationSans-Bold.ttf Arial_Bold.ttf arialbd.ttf Helvetica-Bold.ttf
name liberation/LiberationSans-Italic.ttf Arial_Italic.ttf ariali.ttf
name liberation/LiberationSans-BoldItalic.ttf Arial_Bold_Italic.ttf arialbi.ttf
name liberation/LiberationSerif-Regular.ttf Times_New_Roman.ttf times.ttf Times.ttf
name liberation/LiberationSerif-Bold.ttf Times_New_Roman_Bold.ttf timesbd.ttf
name liberation/LiberationSerif-Italic.ttf Times_New_Roman_Italic.ttf timesi.ttf
name liberation/LiberationSerif-BoldItalic.ttf Times_New_Roman_Bold_Italic.ttf timesbi.ttf
name liberation/LiberationMono-Regular.ttf Courier_New.ttf cour.ttf Courier.ttf
name liberation/LiberationMono-Bold.ttf Courier_New_Bold.ttf courbd.ttf
name liberation/LiberationMono-Italic.ttf Courier_New_Italic.ttf couri.ttf
name liberation/LiberationMono-BoldItalic.ttf Courier_New_Bold_Italic.ttf courbi.ttf
name dejavu/DejaVuSans.ttf Verdana.ttf verdana.ttf
name dejavu/DejaVuSans-Bold.ttf Verdana_Bold.ttf verdanab.ttf
name wqy/wqy-microhei.ttc SimHei.ttf simhei.ttf simsun.ttc msyh.ttc
ln -s wqy-microhei.ttc wqy/wqy-zenhei.ttc
