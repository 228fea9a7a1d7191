"""By which rule should settings be chosen, without the test set or a protected label? From records of `real_faces` alone."""

from results.studies import Study
from results.studies.settings_rule.tables import by_candidates, by_count, each_or_once, left_out, of_rules

STUDY = Study(
    title="By which rule should settings be chosen?",
    body=(
        """
The paper's settings suit one pair and 20,000 synthetic images. With other images they can cost accuracy and repair nothing. So we ask which rule
chooses best among fine-tuned models when it sees only two numbers of each: the accuracy on real validation images, which needs target labels, and the
equalized odds difference ("odds") on held-out balanced synthetic images, whose groups are known. The biased model itself is always a candidate.

We trained nothing for this page. It reads the records of [the study of real faces](../real_faces/README.md). A case is one biased model and one
source of unbiased images. Its candidates are all recorded fine-tunings: methods, learning rates, what batch norm's statistics do, values of k. Numbers are
percent on the test set, means over cases. *Regret* is the difference to the lowest odds among the candidates, seen with the test set, whose
test accuracy is at most half a point below ERM's.""",
        of_rules,
        """
*Within t points*: among the candidates whose validation accuracy is at most t points below the best one's, take the lowest held-out odds. *Accuracy - w x
odds*: take the largest, or the biased model if that candidate's validation accuracy is more than a point below the biased model's.

**We take "within 1 point"**, the rule that `--top-k auto` has used. Several rules are as good: differences of a point between them say nothing, because
the cases are few and share biased models. What the table does say: a rule that looks at both numbers avoids the losses of the paper's settings, and the
lowest held-out odds alone are no guide.

## Is the rule made for these sources?

Each source is left out in turn. The rule with the lowest mean regret plus mean lost accuracy on the others is applied to it:""",
        left_out,
        """
## For each seed, or once?

On the sources with three seeds, among the candidates that all three seeds have:""",
        each_or_once,
        """
## Which settings are worth trying?

With the rule "within 1 point", on the cases that have every setting: Smiling/Male on four sources, one seed each. The three settings are the
paper's (learning rate 0.06, batch norm's statistics follow), 0.01 with statistics held, and 0.002 with statistics that follow:""",
        by_candidates,
        """
The three were picked by looking at this table, and four cases are few. It shows that three settings are nearly as good as seven, and that a choice among
methods is worth more than one among settings of AIM-Fair.

## How many held-out images does it need?

The recorded answers on held-out images are thinned out at random. The thinned answers of two candidates are drawn independently here. In truth all candidates see the same images,
so real choices are somewhat better than these:""",
        by_count,
        """
## What this does not show

- Cases have from 2 to 50 candidates. A rule can only be as good as what there is to choose from.
- The seeds of a source share its images, and the sources of a pair share biased models, so the cases are fewer than they look.
- The biased model has no record on held-out images. The rules here leave it as it is only if all candidates are less accurate on val.""",
    ),
    arms=(),
)
