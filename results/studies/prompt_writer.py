"""What a small language model writes for a new pair, and what comes of a run with it: two seeds of runner.sh on toy faces."""

from results.studies import Arm, Study
from results.study_tables import NOTE, methods_table

ARM = Arm(
    "Eyeglasses_Young",
    ("--target-sensitive", "Eyeglasses_Young", "--number-train-data-real", "2800", "--keep-last-batch"),
    ("erm", "aim-fair"),
    seeds=(100, 200),
    program="runner.sh",
)

STUDY = Study(
    title="Prompts that a small language model wrote: Eyeglasses/Young",
    body=(
        """
Qwen2.5-Coder-1.5B-Instruct (Apache-2.0, GGUF Q4_K_M, computed in fp32) wrote `Eyeglasses_Young.json` on two
cores of an AMD EPYC, at commit 7db299f, in one call:

```bash
python -m prompts.write --target-sensitive Eyeglasses_Young --target "wearing eyeglasses|without eyeglasses" \\
    --protected "young|aged" --sentence "Portrait face photo of a {Young} person {Eyeglasses}" \\
    --model qwen2.5-coder-1.5b-instruct-q4_k_m.gguf --batch-size 16
```

Of 200 sentences, 194 were good at the first question, 4 at the second, and the last two at the third and the fourth.
The check printed then:

```
Eyeglasses_Young.json  plain: 0_0 1 x 9.0  0_1 1 x 9.0  1_0 1 x 9.0  1_1 1 x 9.0 words; largest difference 0% of 4 words
Eyeglasses_Young.json  contextual-without-pose: 0_0 50 x 19.1  0_1 50 x 19.1  1_0 50 x 19.4  1_1 50 x 19.3 words; largest difference 0% of 151 words
Eyeglasses_Young.json  contextual: 0_0 50 x 23.4  0_1 50 x 23.3  1_0 50 x 23.6  1_1 50 x 23.6 words; largest difference 0% of 162 words
```

Little of it is the model's own: the contexts are the project's, and a model of this size adds an "and" here and there. A
larger one writes more freely, and its prompts are checked in the same way.

The file is kept here and not in `prompts/`, so that the commands for this pair in [docs/prompts.md](../../../docs/prompts.md)
run as written.

## The run with these prompts

In fp32, on toy faces (2,800 biased training, 800 val and 1,600 test images) with `stable_diffusion/tiny`, two seeds:""",
        methods_table(ARM.name, digits=2),
        NOTE,
        """
**There was nothing to repair.** The biased list did not lead the classifier astray, probably because drawn eyeglasses are
easy to see. Two seeds show no difference between the two methods. This pair shows that the commands run, not that the method helps.
The contact sheets show another problem. The tiny generator makes nearly everybody with eyeglasses smile, and most faces
without eyeglasses frown, although no prompt asks for it. If a target is harder to see, a classifier could learn that from the
synthetic images. Balanced prompts don't make a balanced generator: look at the sheets.""",
    ),
    arms=(ARM,),
    note="Copy the prompt file to `prompts/` first. The defaults of `runner.sh` on toy faces have changed since: at the commit that the records name, "
    "the command gives these numbers. In the records' commands the checkout's folder was cut from the paths.",
)
