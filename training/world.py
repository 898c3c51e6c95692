"""What the model's world.json says: concepts, backgrounds, patterns, and how many sets of icons draw everything."""

import json
import os
from pathlib import Path

MODEL = Path(__file__).parent / os.environ.get("SCENES_MODEL", "../models/scenes-v2")
WORLD = json.loads((MODEL / "world.json").read_text())
CONCEPTS, BACKGROUNDS = WORLD["concepts"], WORLD["backgrounds"]
PATTERNS = WORLD["scene"]["patterns"]
TRAINED = len(WORLD["styles"]["trained"])
HELD_OUT = len(WORLD["styles"]["heldOut"])
