#!/usr/bin/env python3
"""Writes testdata/text_scores/reference.json: answers, references, and what rouge-score and sacrebleu find.

    python3 -m venv V && V/bin/pip install rouge-score sacrebleu && V/bin/python scripts/make_text_scores_reference.py
"""

import json
import random
from pathlib import Path

import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

PAIRS = [
    ("The tax is 20 percent.", "The tax is 20 percent."),
    ("the tax is twenty percent", "The tax is 20 percent."),
    ("", "something"),
    ("something", ""),
    ("", ""),
    ("It's 3,000.50 dollars - or so (roughly), i.e. 10-20% of $15,000!", "It is 3,000.50 dollars, or so; i.e. 10-20% of 15,000."),
    ("a a a a a", "a a b a"),
    ("Zwei Bücher & drei Häuser: ÄÖÜ ß", "zwei Bücher &amp; drei Häuser; äöü SS"),
    ("日本語の 文章。", "日本語の 別の文章。"),
    ("line one\nline two-\nended <skipped> x", "line one line twoended x"),
    ("x &lt;b&gt; &quot;y&quot;", "x <b> \"y\""),
    ("end.  \n", "end."),
    ("1.5,2 .5 5. ,a a,b a.b 3-4 a-b", "1.5,2 .5 5. , a a , b a . b 3 - 4 a-b"),
    ("the cat sat on the mat and looked out of the window", "the cat looked out of the window and sat on the mat"),
    ("one\x1ctwo\x1fthree\u2003four\u00a0five", "one two three four five"),
    ("{curly} [square] `tick` ~tilde~ ^hat^ _under_ |bar| @at", "{curly} [square] `tick` ~tilde~ hat under bar at"),
    ("\u0130stanbul \u212aelvin NAÏVE", "istanbul kelvin naive"),
]
WORDS = "tax rent income the of a invoice due paid, asset. debt ledger 3.5 audit net".split()


def main():
    draw = random.Random(9)
    for _ in range(20):
        reference = draw.choices(WORDS, k=draw.randint(1, 20))
        answer = [w if draw.random() < 0.7 else draw.choice(WORDS) for w in reference][: draw.randint(1, 20)]
        PAIRS.append((" ".join(answer), " ".join(reference)))
    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    rouge = [scorer.score(reference, answer)["rougeL"].fmeasure for answer, reference in PAIRS]
    bleu = lambda pairs: sacrebleu.corpus_bleu([a for a, _ in pairs], [[r for _, r in pairs]]).score
    corpora = [[i] for i in range(len(PAIRS))] + [list(range(17)), list(range(17, 37)), list(range(37)), [13, 5], [2, 4]]
    reference = {
        "pairs": PAIRS,
        "rouge_l": rouge,
        "bleu": [{"pairs": corpus, "score": bleu([PAIRS[i] for i in corpus])} for corpus in corpora],
    }
    file = Path(__file__).parent.parent / "testdata/text_scores/reference.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(reference, indent=1) + "\n")


if __name__ == "__main__":
    main()
