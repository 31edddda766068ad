"""The words that `sentiment` knows: our own list, for reviews, tickets and feedback in English.

Weights from -3 (worst) to 3 (best). A word with an ordinary ending (-s, -ed, -ing, -ly) is found by its stem.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType


def _listed(words_by_weight: Mapping[float, str]) -> Mapping[str, float]:
    return MappingProxyType({word: weight for weight, words in words_by_weight.items() for word in words.split()})


WEIGHTS = _listed(
    {
        3: """
        amazing awesome best brilliant delightful excellent exceptional exquisite fabulous fantastic flawless
        incredible magnificent marvellous marvelous masterpiece outstanding perfect perfection phenomenal
        sensational spectacular splendid stunning sublime superb superior terrific wonderful
        """,
        2: """
        admire adorable adore attractive beautiful bravo breathtaking captivating celebrate charming cheerful
        commend compelling congratulations delicious delight dream effortless elated elegant enjoy enjoyable
        enthusiastic excited exciting favorite favourite friendly fun gem generous glad good gorgeous grateful
        gratitude great happy heartwarming helpful hilarious hooray impress impressive inspiring joy joyful kind
        kudos lovable love loving loyal memorable nice pleasant pleased pleasing pleasure polite positive praise
        proud recommend refreshing remarkable satisfied satisfying seamless smart success successful thank
        thankful thrilled thrilling treasure triumph trustworthy unforgettable valuable vibrant winner witty
        worth worthwhile yay
        """,
        1: """
        :) :-) :d ;) accurate advantage affordable agree appreciate appreciation appropriate attentive
        beneficial benefit better bonus boost bright calm capable clean clear clever comfort comfortable comfy
        consistent convenient cool correct cosy courteous cozy crisp cute decent dependable durable eager ease
        easier easily easy effective efficient energetic engaging enough fair fast fine fix fixed fresh gain
        gentle handy healthy honest hope hopeful ideal improve improvement innovative interesting intuitive
        juicy knowledgeable like lucky modern neat okay optimistic patient peaceful polished popular powerful
        prompt punctual quick quiet reasonable recovered reliable relief relieved resolve responsive rich robust
        safe safer secure sleek slick smooth snappy solid sound spacious stable straightforward strong sturdy
        support supportive sweet tasty tidy understanding upgrade useful versatile warm welcome well yummy
        """,
        -1: """
        :( :-( absurd annoy anxious awkward bland bleak bored boring bother bug buggy bugs bumpy careless cheap
        clumsy clunky cold complain complaint complicated concern confuse costly cramped crowded damage dated
        delay dent difficult dim dirty doubt drab drained dull error expensive fault faulty fear flimsy forgot
        fragile frown fuss glitch glitchy greasy hard hassle hesitate ignore inaccurate incomplete inconsistent
        inconvenient issue lack lag laggy late leak lengthy limited lonely loud lukewarm mediocre mess messy
        miss mistake nervous noisy odd outdated overpriced overrated overwhelm pointless pricey problem pushy
        questionable refund regret reluctant rough scratch shabby shallow skeptical slow slower sluggish smelly
        soggy sore sorry stale stiff stress stressful stuck tedious tired tiresome trouble unable unclear
        uncomfortable underwhelming unfair unfinished unfortunate unhelpful unimpressed unimpressive uninspired
        unresponsive unstable unsure unusual upset wait weak weird worn worried worry wrong
        """,
        -2: """
        abandoned angry arrogant ashamed bad betray break broke broken cancel cancelled cheat collapse
        condescending corrupt crap crash creepy cruel cry damaging dangerous dead defect defective deny
        depressed depressing disappoint disappointment dishonest dislike dismal disrespectful dissatisfied
        dreary fail failure fake frustrate frustration furious garbage gross guilty harm harmful hate heartless
        hideous hostile hurt incompetent inferior insufferable insult irritate junk lame lazy lie lied lies lose
        losing loss lost lousy ludicrous miserable misleading misled nasty negative neglect negligent nonsense
        offensive outrage overcharged pain painful pathetic poor reject ridiculous rip-off ripoff rotten rude
        ruin sad scary severe shame shocking shoddy sick stole stolen stupid suck terrified threat trash ugly
        unacceptable unbearable unhappy unpleasant unprofessional unreliable unsafe unusable useless vile
        violent waste worse worthless yuck
        """,
        -3: """
        abysmal appalling atrocious awful catastrophe catastrophic deplorable despicable despise detest
        devastated devastating disaster disastrous disgrace disgraceful disgust dreadful fraud ghastly
        horrendous horrible horrid horrific horror inexcusable infuriating loathe nightmare outrageous repulsive
        revolting scam terrible toxic tragedy tragic unforgivable worst
        """,
    }
)

STRENGTHS = _listed(
    {
        1.6: "absolutely completely exceptionally extremely incredibly insanely totally utterly",
        1.3: "deeply especially highly most really remarkably so super too truly very",
        1.1: "fairly pretty quite rather",
        0.6: "bit kinda less little mildly partly slightly somewhat sorta",
    }
)

_NEGATING = """
barely cannot cant didnt doesnt dont hardly isnt neither never no nobody none nor not nothing rarely scarcely seldom
wasnt without wont wouldnt
"""
NEGATIONS = frozenset(_NEGATING.split())
