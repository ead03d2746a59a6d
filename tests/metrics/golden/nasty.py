"""A stock of strings that are hard to tokenise: fragments, their random sequences, and captions with errors."""

import random

FRAGMENTS = """
a A I dog Dog DOG man's Mr. mr. St. U.S. u.s. p.m. etc. No. no. Ph.D. a.m. e.g. vs. Inc. Jr. isn't can't CAN'T won't
don`t don’t y'all 'tis 'Twas 'em o'clock O'Neil rock'n'roll 'n' ol' gonna wanna gotta cannot gimme lemme t-shirt x-ray
mid-'90s '90s '05 1990s 90's 5 10 3.5 1,000 -5 +5 .5 1/2 2-1/2 50% #1 #tag @user $5 $5.50 US$5 £20 €5 ¥5 5¢ 10am 10:30
12:30pm 5'10" 6' 4x4 24/7 and/or w/ w/out b/c AT&T R&B b&w &amp; &lt; &gt; & http://a.com/b?c=d www.foo.com foo.com
foo@bar.com a_b _x_ <unk> <b> </b> <br/> <3 :) :-( ;-) :D =) ... .. . … — – -- --- - ! !! ?! ? ?? " '' `` ' ` “ ” ‘ ’
( ) [ ] { } / \\ | ~ ^ * ** + = @ # % $ ½ ¼ 3½ ° ™ © é café naïve ☃ 😀 日本 привет \u00a0 \u00ad \u200b \u2009 ´ · • ×
² ; : , 555-1234 (555) 1st 2nd 3rd man.In the.End A.B a.b.c 2010-01-02 1/2/2010 it's its' The They yes!No 'S 's 're
n't o' th' fishin' jack-o'-lantern mother-in-law's 1-800-555-1234 7-up 7up a- -a x X. X. --x x-- 5. 5.. dog. dog..
dog... Mr.Smith St.John's C.S.I. N.Y.C. T.V. J. J.K. D.C. U.S.A U.K Mt Mt. Ave Ave. th 8th 19th. lbs. ft. in. oz.
dog., dog.: etc.x C++ c# F# caf&eacute; nat'l li'l e'er ma'am l'eau d'art cap'n somethin' Dunkin' anti- pro- img.jpg
3.txt (^_^) -_- =_= :'( >:D <3 </s> <pad> <a href="x"> <!--x--> x² H₂O ‚x‘ „x“ «x» ¿x? ¡x! 10° ±5 1e5 R+D A&B&C yes!no
555.555.1234 +44-20-7946 2\u00a01/2 don\u0092t İstanbul Straße ŒUVRE ﬁsh ǅ ªº Ω ẞ \u200d \ufeff \x01 \x85 \t &#39; '
"""
CAPTIONS = (
    "A man in a blue shirt is riding a wave on a surfboard .",
    "Two dogs are playing with a ball in the snow.",
    'A sign that reads "No Parking" is on the corner of 5th St. and Main Ave.',
    "A woman's hand is holding a half-eaten hot dog, with mustard & ketchup.",
    "Children don't want to leave the kids' playground at 3 p.m. on Mr. Brown's street",
    "The white-and-brown dog is running over the grass -- it's fast!",
    "a black and white photo of a train (No. 42) at the station in the 1950's",
)
MARKS = "'\"-./&@#$%!?,;:()[]<>*_`’‘“”—–…½é\u00a0\u00ad1250AT ~+=\\^|{}´°😀☃\n\r\x0b\x0c\u2028\u2029"


def nasty_strings(count: int, seed: int) -> list[str]:
    """Return the fragments, and about ``count`` strings made of them or of captions with errors."""
    rng = random.Random(seed)
    fragments = [piece for piece in FRAGMENTS.split(" ") if piece.strip("\n")]
    fragments = [piece for group in fragments for piece in group.split("\n") if piece]
    made = list(dict.fromkeys(fragments))
    while len(made) < count:
        kind = rng.randrange(3)
        if kind == 0:
            made.append(" ".join(rng.choices(fragments, k=rng.randint(2, 6))))
        elif kind == 1:
            made.append(
                "".join(rng.choice(fragments) + rng.choice(["", " "]) for _ in range(rng.randint(2, 5)))
            )
        else:
            made.append(_spoil(rng.choice(CAPTIONS), fragments, rng))
    return made


def _spoil(caption: str, fragments: list[str], rng: random.Random) -> str:
    text = list(caption)
    for _ in range(rng.randint(1, 5)):
        place, kind = rng.randrange(len(text)), rng.random()
        if kind < 0.5:
            text.insert(place, rng.choice(MARKS))
        elif kind < 0.6:
            del text[place]
        elif kind < 0.9:
            text.insert(place, rng.choice([" {} ", "{}"]).format(rng.choice(fragments)))
        else:
            text[place] = text[place].upper()
    return "".join(text)
