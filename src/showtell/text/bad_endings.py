"""English words that no caption should end on: they need another word."""

# The first line is that of ImageCaptioning.pytorch (captioning/models/AttModel.py, bad_endings). The others are of
# the same kinds: prepositions that need a noun, conjunctions, determiners, "to be". People often end captions on by,
# up, down, out, off, over, around, behind, outside and her, which are not here.
_WORDS = """
a an the in for at of with before after on upon near to is are am
from into onto and or but nor while as that which whose than was were be his its their my your our
"""

BAD_ENDINGS = frozenset(_WORDS.split())

_ALSO_JOINING = "by up down out off over around behind between through under her it"
JOINING = BAD_ENDINGS.union(_ALSO_JOINING.split())
"""Words that only join others: without meaning of their own."""
