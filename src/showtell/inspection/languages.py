"""Captions in another language than most, by py3langid: a naive Bayes classifier of n-grams (Lui & Baldwin 2012)."""

from collections import Counter
from collections.abc import Iterator

from showtell.data.prepared import PreparedSet
from showtell.errors import import_extra
from showtell.inspection.findings import Finding

MAX_PROBABILITY = 0.005
"""Largest probability of the main language in a finding: no caption of Flickr8k or COCO (val2017) has a smaller one,
60,009 in all, and whole sentences in other languages have at most 0.002."""

MIN_PROBABILITY = 0.3
"""Smallest probability of a caption's own language; two or three words may be of any."""


def find_other_languages(prepared: PreparedSet) -> Iterator[Finding]:
    """Yield the captions that are hardly in the set's main language, the one of most captions.

    Raises:
        MissingExtraError: py3langid is not installed.
    """
    langid = import_extra("py3langid.langid", extra="inspect", need="py3langid")
    identifier = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
    classified: list[tuple[int, str, str]] = []
    languages = Counter[str]()
    for row, texts in enumerate(prepared.iterate_captions()):
        for text in dict.fromkeys(texts):
            language, probability = identifier.classify(text)
            if probability >= MIN_PROBABILITY:
                languages[language] += 1
                classified.append((row, language, text))
    main = max(languages, key=languages.__getitem__, default="")
    for row, language, text in classified:
        if language != main and (probability := dict(identifier.rank(text))[main]) < MAX_PROBABILITY:
            yield Finding("language", row, f"'{language}' rather than '{main}'", 1.0 - probability, text)
