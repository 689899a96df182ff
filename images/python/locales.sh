#!/bin/sh
# Makes the languages that programs set by name, in one file that shares what they have in common.
set -eu
apt-get update -q && apt-get install -qy --no-install-recommends locales
for name in en_US en_GB en_AU en_IN de_DE de_AT de_CH fr_FR fr_CH es_ES es_MX it_IT pt_PT pt_BR nl_NL \
    sv_SE pl_PL tr_TR ru_RU el_GR he_IL ar_SA hi_IN id_ID ja_JP ko_KR zh_CN zh_TW; do
    localedef -i "$name" -f UTF-8 "$name.UTF-8"
    localedef -i "$name" -f UTF-8 "$name"
done
