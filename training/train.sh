#!/usr/bin/env bash
# Trains scenes-v2 from nothing and writes it to models/scenes-v2; started again, it goes on where it was.
#   bash training/train.sh STATE [PYTHON] [FROM]
# FROM, an older checkpoint to begin with; without it, from nothing.
# STATE is a folder outside the repository: sprites, the state of the trainers and their logs. On Debian 12:
#   apt-get install python3-torch python3-numpy python3-pil python3-sentencepiece libopenblas0-pthread libjemalloc2
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

# Most manners of drawing come from icon sets that nothing but training needs.
[ -f "$state/sprites/sprites.json" ] || npm ci --prefix icons
[ -f "$state/sprites/sprites.json" ] || node ../cli/launch.js sprites.ts "$state/sprites"
[ -f "$model/tokenizer.model" ] || "$python" tokenizer.py "$model"
trainer train_vision.py --sprites "$state/sprites" --state "$state" "${from[@]}" | tee -a "$state/vision.log"
trainer train_language.py --sprites "$state/sprites" --state "$state" "${from[@]}" | tee -a "$state/language.log"
trainer export.py --sprites "$state/sprites" --state "$state" --out "$model" --goldens
trainer evaluate.py "$model" --sprites "$state/sprites"
