"""Left and right in captions of flipped images: only directions swap, not "right now" or "has left a trail"."""

import re

_SWAPPED = {"left": "right", "right": "left", "左": "右", "右": "左"}
_SIDE = re.compile(r"\b(?:left|right)(?=(?:most|wards?)?\b)|左(?!右)|(?<!左)右", re.IGNORECASE)
_TOKEN = re.compile(r"[\w']+|[^\w\s'-]")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_DETERMINERS = _words("the his her hers its their my your our a an")
_BEFORE_A_SIDE = _words(
    "on to at from in with toward towards into for near then far upper lower top bottom front rear center middle"
    " extreme immediate"
)
_WITH_SIDES = _words(
    "hand hands arm arms leg legs foot feet eye eyes ear ears shoulder shoulders knee knees elbow elbows wrist wrists"
    " finger fingers thumb ankle ankles thigh cheek hip paw paws fist forearm glove shoe sleeve side sides corner"
    " corners edge arrow arrows half third turn turns lane field foreground background bank"
)
_ADJECTIVES = _words("front rear back hind pointer index ring middle lower upper top bottom")
_MOVES = re.compile(
    "(?:look|turn|fac|walk|run|runn|go|head|mov|lean|swerv|point|jump|glanc|star|gaz|veer|bend|skat|ski|rid|driv|fly"
    "|fli|slid|step|leap|lung|div|steer|curv|kick|throw|swing|signal|gestur|sail|surf|tilt)(?:e|es|s|ed|d|ing)?"
)
_JOINED = _words("and or to")
_AFTER_A_MOVE = _words("and or while as then but when")
_CORRECT = _words("way size time moment one place spot thing person answer word amount kind order angle")
_REMAINS = _words("over behind alone")
_REMAINDER = _words("what that all little much nothing anything something")
_NO_SIDE = _words("now away handed hander")
_NO_SIDES = {("side", "up"), ("of", "way")}  # right side up, right of way
_WRITTEN = _words("say says saying read reads reading")


def mirror(text: str) -> str:
    """Return the caption of the flipped image: directions swap, and 左 and 右 (not 左右, both).

    English ``left`` and ``right`` are directions beside the words that show it: an article or possessive ("to his
    left"), a preposition ("on right"), a part with two sides ("left arm"), "of", a verb of looking or moving ("turns
    left"), or each other. Any other stays, as in "right behind him", "left alone", "right handed", and so does a word
    that is written in the image. The words that swap become lower case; the tokenizer has its own of the others, by
    language.
    """

    def swap(match: re.Match[str]) -> str:
        side = match[0].lower()
        return _SWAPPED[side] if side in "左右" or _is_direction(text, match) else match[0]

    return _SIDE.sub(swap, text)


def _is_direction(text: str, match: re.Match[str]) -> bool:
    """Return whether a match of ``left`` or ``right`` is a direction by the words around it."""
    side, rest = match[0].lower(), text[match.end() :]
    *_, second_last, last = ["", "", *_TOKEN.findall(text[: match.start()].lower())]
    following, second, *_ = [*_TOKEN.findall(rest.lower()), "", ""]
    is_written = text.count('"', 0, match.start()) % 2 == 1 and '"' in rest
    if following in _NO_SIDE or (following, second) in _NO_SIDES:
        return False
    if is_written or _WRITTEN & {second_last, last}:
        return False
    ends = not following or following in ".,:;)"
    return (
        rest[:1].isalpha()  # leftmost, rightward
        or (following in _JOINED and second in _SWAPPED)
        or (last in _JOINED and second_last in _SWAPPED)
        or following in _WITH_SIDES
        or (following in _ADJECTIVES and second in _WITH_SIDES)
        or (following == "of" and not _REMAINDER & {second_last, last})
        or _is_noun(side, second_last, last, following)
        or (ends and not last.isalnum())
        or (
            _MOVES.fullmatch(last) is not None
            and (
                ends
                or following in _AFTER_A_MOVE
                or (side == "left" and following not in _REMAINS | _DETERMINERS)
            )
        )
    )


def _is_noun(side: str, second_last: str, last: str, following: str) -> bool:
    """Return whether an article, possessive or preposition before a side makes it a noun or adjective of place."""
    if last in _DETERMINERS or last.endswith("'s"):
        return second_last in _BEFORE_A_SIDE or following not in (_REMAINS if side == "left" else _CORRECT)
    if last in _ADJECTIVES and second_last in _DETERMINERS:
        return True
    return last in _BEFORE_A_SIDE and following not in _DETERMINERS
