"""The grammar of the drawn scenes: it generates captions and checks whether a caption is true of a scene.

No two objects of a scene share both color and kind, so a noun phrase identifies one object or none.

| phrase                                  | claim                                             |
|-----------------------------------------|---------------------------------------------------|
| a small red ring                        | there is a red ring, and it is small              |
| ... is left of / to the left of ...     | its column is left of the other's                 |
| ... above / over ..., below / under ... | its row is above, below the other's               |
| at the top left                         | row 0 and column 0                                |
| it                                      | the first object of the caption                   |
"""

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

COLORS = ("red", "orange", "yellow", "green", "blue", "purple")
KINDS = ("circle", "square", "triangle", "star", "ring")
SIZES = ("small", "large")
CAPTIONS_PER_SCENE = 5

RELATIONS = {
    "left": ("left of", "to the left of"),
    "right": ("right of", "to the right of"),
    "above": ("above", "over"),
    "below": ("below", "under"),
}
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}
ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "centre", "right")
# All positions have four words: ranking by mean log-probability would prefer longer ones.
POSITIONS = {
    (row, column): f"at the {ROWS[row]} {COLUMNS[column]}" for row in range(3) for column in range(3)
}
WORDINGS = (
    "{first} is {relation} {second}",
    "{first} {relation} {second}",
    "{relation} {second} there is {first}",
    "{inverse} {first} there is {second}",
    "there is {first} {position} and {second} {inverse} it",
    "{position} there is {first} {relation} {second}",
)


@dataclass(frozen=True)
class SceneObject:
    """One of `KINDS`, `COLORS` and `SIZES`, in a row (0: top) and column (0: left) of a 3 x 3 board."""

    kind: str
    color: str
    size: str
    row: int
    column: int

    @property
    def name(self) -> str:
        """Color and kind: no two objects of a scene share both."""
        return f"{self.color} {self.kind}"

    @property
    def position(self) -> str:
        """Row and column in words."""
        return POSITIONS[self.row, self.column]


@dataclass(frozen=True)
class Scene:
    """Content of a drawn image: two or three objects in reading order, with different cells and names."""

    key: str
    objects: tuple[SceneObject, ...]


def relations(first: SceneObject, second: SceneObject) -> list[str]:
    """Return all relations (keys of `RELATIONS`) of the first object to the second, vertical first."""
    found = []
    if first.row != second.row:
        found.append("above" if first.row < second.row else "below")
    if first.column != second.column:
        found.append("left" if first.column < second.column else "right")
    return found


def write_captions(scene: Scene, generator: random.Random) -> list[str]:
    """Return five differently worded captions that are true of the scene and name all its objects.

    They follow the reading order: the first object is the topmost (of these the leftmost), its relation is to the
    last one, and of two relations the vertical one is used. The first word of a wording determines which object comes
    first. With a random order, networks merged two objects or repeated one for several times as many steps.
    """
    captions = []
    first, *others, second = scene.objects
    relation = relations(first, second)[0]
    for wording in generator.sample(WORDINGS, CAPTIONS_PER_SCENE):
        text = wording.format(
            first=_noun_phrase(first, generator),
            second=_noun_phrase(second, generator),
            position=first.position,
            relation=generator.choice(RELATIONS[relation]),
            inverse=generator.choice(RELATIONS[OPPOSITE[relation]]),
        )
        for other in others:
            text += f" {generator.choice(('and', 'with'))} {_noun_phrase(other, generator)} {other.position}"
        captions.append(text[0].upper() + text[1:] + ".")
    return captions


def _noun_phrase(item: SceneObject, generator: random.Random) -> str:
    phrase = f"{item.size} {item.name}" if generator.random() < 0.4 else item.name
    return f"an {phrase}" if phrase[0] in "aeiou" else f"a {phrase}"


def _any_of(words: Iterable[str]) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


_RELATION_OF = {words: name for name, wordings in RELATIONS.items() for words in wordings}
_NAME = f"(?:{_any_of(COLORS)}) (?:{_any_of(KINDS)})"
_NOUN = f"(?:an?|the) (?:(?:{_any_of(SIZES)}) )?{_NAME}"
_RELATION, _POSITION = f"(?:{_any_of(_RELATION_OF)})", f"(?:{_any_of(POSITIONS.values())})"
_GAP = " (?:(?:there )?is )*"  # these words claim nothing
_RELATED = f"{_RELATION}{_GAP}(?:{_NOUN}|it)"
_CLAUSE = re.compile(
    r"(?:(?:there )?is )*(?:"
    f"{_RELATION}{_GAP}{_NOUN}{_GAP}{_NOUN}"  # left of a red ring there is a blue star
    f"|{_POSITION}{_GAP}{_NOUN}(?:{_GAP}{_RELATED})?"  # at the top left there is a red ring (above a blue star)
    f"|{_NOUN}{_GAP}(?:{_POSITION}|{_RELATED})"  # a red ring at the top left; a red ring is above a blue star
    r")(?: (?:there )?is)*"
)
_OBJECT = re.compile(rf"(?:(?P<size>{_any_of(SIZES)}) )?(?P<name>{_NAME})|\bit\b")


@dataclass
class _Claims:
    """The claims of a caption about objects, which it names by color and kind."""

    # Name and size (or "") of each object, in order.
    nouns: list[tuple[str, str]] = field(default_factory=list)
    positions: list[tuple[str, str]] = field(default_factory=list)
    relations: list[tuple[str, str, str]] = field(default_factory=list)


def check_caption(caption: str, scene: Scene, *, details: bool = True) -> list[str]:
    """Return the errors of a caption of this scene, in words; empty if it is true.

    It checks objects, colors, kinds and relations, and as ``details`` sizes and positions. A caption outside the
    grammar is an error.
    """
    claims = _read(caption)
    if claims is None:
        return ["it is not a sentence about a scene"]
    truth = {item.name: item for item in scene.objects}
    names = [name for name, _ in claims.nouns]
    wrong = [f"there is no {name}" for name in names if name not in truth]
    wrong += [f"the {name} is named twice" for name in sorted(set(names)) if names.count(name) > 1]
    for name, size in claims.nouns if details else ():
        if size and name in truth and truth[name].size != size:
            wrong.append(f"the {name} is not {size}")
    for name, position in claims.positions if details else ():
        if name in truth and truth[name].position != position:
            wrong.append(f"the {name} is not {position}")
    for first, words, second in claims.relations:
        known = first in truth and second in truth
        if known and _RELATION_OF[words] not in relations(truth[first], truth[second]):
            wrong.append(f"the {first} is not {words} the {second}")
    return wrong


def named_objects(caption: str) -> set[str]:
    """Return the names ("red ring") of all objects in a caption; empty for one outside the grammar."""
    claims = _read(caption)
    return set() if claims is None else {name for name, _ in claims.nouns}


def _read(caption: str) -> _Claims | None:
    """Return the claims of a caption, or None if it is outside the grammar."""
    claims = _Claims()
    text = " ".join(re.findall(r"[a-z]+|[^a-z\s.,]", caption.lower()))
    for clause in re.split(" (?:and|with) ", text):
        if _CLAUSE.fullmatch(clause) is None:
            return None
        names = []
        for noun in _OBJECT.finditer(clause):
            if noun["name"]:
                claims.nouns.append((noun["name"], noun["size"] or ""))
            names.append(noun["name"] or claims.nouns[0][0])
        if position := re.search(_POSITION, clause):
            claims.positions.append((names[0], position[0]))
        if relation := re.search(_RELATION, clause):
            first, second = names if relation.start() > clause.index(names[0]) else reversed(names)
            claims.relations.append((first, relation[0], second))
    return claims
