"""The questions, in plain words, numbered as in the study's list; letters are their parts.

Each can be read alone, without the one before it.
"""

from __future__ import annotations

QUESTIONS: tuple[tuple[str, str], ...] = (
    ("1a", "Is the gradient in a chain of single units the product of the chain rule's factors?"),
    ("1b", "Is the gradient of wide layers the product of the chain rule's factors?"),
    ("2a", "Does a ReLU network's gradient vanish when its weights are small?"),
    (
        "2b",
        "With small weights, does ReLU's gradient shrink more slowly than sigmoid's?",
    ),
    ("2c", "With small weights, does ReLU's gradient shrink more slowly than tanh's?"),
    ("3a", "Can the gradient of a sigmoid network explode at all?"),
    ("3b", "Must weights be disproportionately big for a sigmoid network's gradient to explode?"),
    ("4a", "Does ReLU instead of sigmoid increase the risk of an exploding gradient?"),
    ("4b", "Does ReLU instead of tanh increase the risk of an exploding gradient?"),
    ("5a", "Does sigmoid leave a gradient of 1e-10 or less after 20 and more layers?"),
    ("5b", "Does tanh leave a gradient of 1e-10 or less after 20 and more layers?"),
    ("6a", "Is a depth of 2 to 5 layers safe?"),
    ("6b", "Do 10 to 20 layers mark where trouble starts?"),
    ("6c", "Are more than 50 layers almost guaranteed trouble?"),
    ("7a", "Does Xavier hold the variance of activations and gradients in tanh networks?"),
    ("7b", "Does Xavier hold the variance of activations and gradients in sigmoid networks?"),
    ("7c", "Does He hold the variance of activations and gradients in ReLU networks?"),
    ("8a", "Do small initial weights reduce the risk of an exploding gradient?"),
    ("8b", "Do small initial weights increase the risk of a vanishing gradient?"),
    ("8c", "Do networks with small initial weights learn less often?"),
    ("9a", "Does ReLU, leaky ReLU or ELU instead of sigmoid reduce vanishing?"),
    ("9b", "Does ReLU, leaky ReLU or ELU instead of tanh reduce vanishing?"),
    ("10a", "Does batch normalisation prevent a vanishing gradient?"),
    ("10b", "Does batch normalisation prevent an exploding gradient?"),
    ("11a", "Does clipping the gradient's norm let feed-forward networks learn whose gradient explodes?"),
    ("11b", "Does clipping the gradient's norm let recurrent networks learn whose gradient explodes?"),
    ("11c", "Does clipping the gradient's values let feed-forward networks learn whose gradient explodes?"),
    ("11d", "Is there a threshold of the norm at which networks learn whose gradient explodes?"),
    ("11e", "Does clipping the gradient's norm help networks whose gradient vanishes?"),
    ("12a", "Do skip connections prevent a vanishing gradient in very deep networks?"),
    ("12b", "Do skip connections prevent an exploding gradient in very deep networks?"),
    ("13a", "Do early layers learn more slowly than late ones where the gradient vanishes?"),
    ("13b", "Does training diverge, up to NaN, where the gradient explodes?"),
    ("13c", "Does the loss oscillate where the gradient explodes?"),
)
