#!/usr/bin/env bash
# mutate.sh SOURCE_FOLDER MUTANT_FILE TO_FOLDER: writes the source file that the mutant names into TO_FOLDER, at its path,
# with the mutant's "-" lines replaced by its "+" lines.  They must occur there once.
set -euo pipefail
source_folder=$1 mutant=$2 to_folder=$3
file='' from='' to=''
while IFS= read -r line || [ -n "$line" ]; do
  case $line in
    'file: '*) file=${line#file: } ;;
    '- '*) from+=${line#- }$'\n' ;;
    '+ '*) to+=${line#+ }$'\n' ;;
  esac
done <"$mutant"
# A part of a line is enough.
from=${from%$'\n'} to=${to%$'\n'}
text=$(<"$source_folder/$file")
rest=${text#*"$from"}
if [ "$rest" = "$text" ] || [ "${rest#*"$from"}" != "$rest" ]; then
  echo "$mutant: its lines are not in $file, or more than once" >&2
  exit 1
fi
mkdir -p "$to_folder/$(dirname "$file")"
printf '%s\n' "${text%%"$from"*}$to$rest" >"$to_folder/$file"
