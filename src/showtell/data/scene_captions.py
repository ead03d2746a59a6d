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
from collections.abc import Callable, Iterable
from dataclasses import dataclass

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
# All places have four words: ranking by mean log-probability would prefer longer ones.
PLACES = {(row, column): f"at the {ROWS[row]} {COLUMNS[column]}" for row in range(3) for column in range(3)}


@dataclass(frozen=True)
class SceneObject:
    """One object of a scene.

    Attributes:
        kind: One of `KINDS`.
        color: One of `COLORS`.
        size: One of `SIZES`.
        row: 0 top, 1 middle, 2 bottom.
        column: 0 left, 1 middle, 2 right.
    """

    kind: str
    color: str
    size: str
    row: int
    column: int

    @property
    def name(self) -> str:
        """Color and kind: no two objects of a scene share both."""
        return f"{self.color} {self.kind}"


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


# -- writing -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Words:
    """The phrases of a wording."""

    first: str
    second: str
    first_place: str
    relation: str  # first to second
    inverse: str  # second to first


Wording = Callable[[_Words], str]

WORDINGS: tuple[Wording, ...] = (
    lambda w: f"{w.first} is {w.relation} {w.second}",
    lambda w: f"{w.first} {w.relation} {w.second}",
    lambda w: f"{w.relation} {w.second} there is {w.first}",
    lambda w: f"{w.inverse} {w.first} there is {w.second}",
    lambda w: f"there is {w.first} {w.first_place} and {w.second} {w.inverse} it",
    lambda w: f"{w.first_place} there is {w.first} {w.relation} {w.second}",
)


def write_captions(scene: Scene, generator: random.Random) -> list[str]:
    """Return five differently worded captions that are true of the scene and name all its objects.

    They follow the reading order: the first object is the topmost (of these the leftmost), its relation is to the
    last one, and of two relations the vertical one is used. The first word of a wording determines which object comes
    first. With a random order, networks merged two objects or repeated one for several times as many steps.
    """
    captions = []
    for wording in generator.sample(WORDINGS, CAPTIONS_PER_SCENE):
        first, *others, second = scene.objects
        relation = relations(first, second)[0]
        text = wording(
            _Words(
                first=_noun_phrase(first, generator),
                second=_noun_phrase(second, generator),
                first_place=_place(first),
                relation=generator.choice(RELATIONS[relation]),
                inverse=generator.choice(RELATIONS[OPPOSITE[relation]]),
            )
        )
        for other in others:
            text += f" {generator.choice(('and', 'with'))} {_noun_phrase(other, generator)} {_place(other)}"
        captions.append(text[0].upper() + text[1:] + ".")
    return captions


def _noun_phrase(item: SceneObject, generator: random.Random) -> str:
    phrase = f"{item.size} {item.name}" if generator.random() < 0.4 else item.name
    return f"an {phrase}" if phrase[0] in "aeiou" else f"a {phrase}"


def _place(item: SceneObject) -> str:
    return PLACES[item.row, item.column]


# -- reading -----------------------------------------------------------------------------------------

_RELATION_OF = {words: name for name, wordings in RELATIONS.items() for words in wordings}
_CELL_OF = {words: cell for cell, words in PLACES.items()}


def _any_of(words: Iterable[str]) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


# One letter per phrase: N noun phrase, R relation, P place, I "it", J conjunction; L (lead, "is") claims nothing.
_PHRASE = re.compile(
    rf"(?P<N>(?:an?|the) (?:(?P<size>{_any_of(SIZES)}) )?"
    rf"(?P<name>(?:{_any_of(COLORS)}) (?:{_any_of(KINDS)})))"
    rf"|(?P<R>{_any_of(_RELATION_OF)})|(?P<P>{_any_of(_CELL_OF)})|(?P<I>it)|(?P<J>and|with)"
    r"|(?P<L>there is|is)"
)
_CLAUSE = re.compile(
    r"(?P<relation_first>RNN)"  # left of a red ring there is a blue star
    r"|(?P<place_first>PN(?:R[NI])?)"  # at the top left there is a red ring (above a blue star)
    r"|(?P<object_first>N(?:P|P?R[NI]))"  # a red ring at the top left; a red ring is above a blue star
)


@dataclass(frozen=True)
class _Phrase:
    letter: str
    words: str
    name: str = ""
    size: str = ""


@dataclass(frozen=True)
class _Claims:
    """The claims of a caption: noun phrases, (object, place) pairs and (object, relation, object) triples."""

    nouns: list[_Phrase]
    places: list[tuple[_Phrase, str]]
    relations: list[tuple[_Phrase, str, _Phrase]]


def check_caption(caption: str, scene: Scene, *, details: bool = True) -> list[str]:
    """Return the errors of a caption of this scene, in words; empty if it is true.

    It checks objects, colors, kinds and relations, and as ``details`` sizes and places. A caption outside the grammar
    is an error.
    """
    claims = _read(caption)
    if claims is None:
        return ["it is not a sentence about a scene"]
    truth = {item.name: item for item in scene.objects}
    wrong = [f"there is no {noun.name}" for noun in claims.nouns if noun.name not in truth]
    names = [noun.name for noun in claims.nouns]
    wrong += [f"the {name} is named twice" for name in sorted(set(names)) if names.count(name) > 1]
    for noun in claims.nouns:
        if details and noun.size and noun.name in truth and truth[noun.name].size != noun.size:
            wrong.append(f"the {noun.name} is not {noun.size}")
    for noun, place in claims.places:
        if details and noun.name in truth and not _is_at(truth[noun.name], place):
            wrong.append(f"the {noun.name} is not {place}")
    for first, words, second in claims.relations:
        if first.name in truth and second.name in truth:
            found = relations(truth[first.name], truth[second.name])
            if _RELATION_OF[words] not in found:
                wrong.append(f"the {first.name} is not {words} the {second.name}")
    return wrong


def named_objects(caption: str) -> set[str]:
    """Return the names ("red ring") of all objects in a caption; empty for one outside the grammar."""
    claims = _read(caption)
    return set() if claims is None else {noun.name for noun in claims.nouns}


def _is_at(item: SceneObject, place: str) -> bool:
    return _CELL_OF[place] == (item.row, item.column)


def _read(caption: str) -> _Claims | None:
    phrases = _phrases(caption)
    if phrases is None:
        return None
    letters = "".join(phrase.letter for phrase in phrases)
    claims = _Claims(nouns=[phrase for phrase in phrases if phrase.letter == "N"], places=[], relations=[])
    position = 0
    while True:
        clause = _CLAUSE.match(letters, position)
        if clause is None:
            return None
        _collect(phrases[clause.start() : clause.end()], claims)
        position = clause.end()
        if position == len(letters):
            return claims
        if letters[position] != "J":
            return None
        position += 1


def _collect(clause: list[_Phrase], claims: _Claims) -> None:
    by_letter = {phrase.letter: phrase for phrase in clause}
    nouns = [
        claims.nouns[0] if phrase.letter == "I" else phrase for phrase in clause if phrase.letter in "NI"
    ]
    if clause[0].letter == "R":
        nouns.reverse()
    if "P" in by_letter:
        claims.places.append((nouns[0], by_letter["P"].words))
    if "R" in by_letter:
        claims.relations.append((nouns[0], by_letter["R"].words, nouns[1]))


def _phrases(caption: str) -> list[_Phrase] | None:
    """Split a caption into phrases without leads and "is"; None if a word belongs to no phrase."""
    text = " ".join(re.findall(r"[a-z]+|[^a-z\s.,]", caption.lower()))
    phrases, position = [], 0
    while position < len(text):
        match = _PHRASE.match(text, position)
        end = match.end() if match else 0
        if match is None or (end < len(text) and text[end] != " "):
            return None
        if match.lastgroup != "L":
            letter = next(letter for letter in "NRPIJ" if match[letter])
            phrases.append(_Phrase(letter, match[0], match["name"] or "", match["size"] or ""))
        position = end + 1
    return phrases
