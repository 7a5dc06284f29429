"""Tensors of the field by what their axes are, for the annotations of public functions: a caller's
arrays and lists become these, and what does not fit is refused (`foundation.arguments`).

N is the number of cases or chains. Cases that learning or judging starts from are annotated with a
bare `Tensor`: `arrays.as_cases` looks at them, since uint8 are pixels there.
"""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from wakesleep.foundation.tensors import Expected

Visible = Annotated[Tensor, Expected("N visible")]
"""States, means or total inputs of an RBM's visible units."""
Hidden = Annotated[Tensor, Expected("N hidden")]
"""The same of its hidden units."""
Bias = Annotated[Tensor, Expected("visible")]
"""A number for each visible unit."""
VisibleOut = Annotated[Tensor, Expected("N visible", "written")]
HiddenWritten = Annotated[Tensor, Expected("N hidden", "changed")]
HiddenOut = Annotated[Tensor, Expected("N hidden", "written")]
"""What a function writes to."""
OutOfVisible = Annotated[Tensor, Expected("... visible")]
VisibleMask = Annotated[Tensor, Expected("visible | N visible", "mask")]
"""Which visible units are meant, of all cases or of each."""
Replicated = Annotated[Tensor, Expected("R N visible")]
"""States of visible units of N chains at R temperatures."""
Betas = Annotated[Tensor, Expected("K", holes=True, infinite=True, any_type=True)]
"""Inverse temperatures, whose values the functions look at."""

Pixels = Annotated[Tensor, Expected("N pixels")]
"""Activities of the lowest layer of a net."""
PixelMask = Annotated[Tensor, Expected("pixels | N pixels", "mask")]
Features = Annotated[Tensor, Expected("N features")]
"""Activities of the penultimate layer."""
Top = Annotated[Tensor, Expected("N top")]
"""Total inputs of the top layer."""
Shares = Annotated[Tensor, Expected("N labels")]
"""A number for each label."""
OfLabels = Annotated[Tensor, Expected("labels", any_type=True)]
"""A number for each label, of all cases."""
LogProbs = Annotated[Tensor, Expected("N labels", infinite=True, most=1e-3)]
"""log p of each label."""
Labels = Annotated[Tensor, Expected("N", "labels")]
"""Numbers of labels."""
SomeLabels = Annotated[Tensor, Expected("N+", "labels", least=-1)]
"""The same, `arrays.UNLABELLED` where nobody knows them."""
Cases = Annotated[Tensor, Expected("N+ visible", "cases")]
"""Cases that are looked at no further: uint8 are pixels."""

Layer = Annotated[Tensor, Expected("... size")]
"""Total inputs, means or states of a layer of units."""
LayerOut = Annotated[Tensor, Expected("... size", "written")]
LayerRows = Annotated[Tensor, Expected("M size")]
LayerCases = Annotated[Tensor, Expected("N+ size", "cases", holes=True, infinite=True)]
"""Cases whose values the units look at themselves."""
LayerMask = Annotated[Tensor, Expected("N size", "mask")]
LayerWritten = Annotated[Tensor, Expected("N+ size", "changed", holes=True)]
"""Cases whose holes are filled in, in place."""
UnitMoments = Annotated[Tensor, Expected("size")]
"""A number for each unit of a layer."""
Slots = Annotated[Tensor, Expected("slots")]
"""Means of a layer's sufficient statistics."""
Part = Annotated[Tensor, Expected("... _")]
"""States of a part of a layer, or of one layer of several: the function looks at their width."""
GroupCases = Annotated[Tensor, Expected("N+ _", "cases", holes=True, infinite=True)]
"""Cases of a group of visible units, which the function looks at."""
Source = Annotated[Tensor, Expected("N from")]
"""States of the layer that a directed layer is made from."""
Target = Annotated[Tensor, Expected("N to")]
Rows = Annotated[Tensor, Expected("N _")]
"""Codes, logits: a row a case, of any width."""
Each = Annotated[Tensor, Expected("N")]
"""A number for each case."""
OneBeta = Annotated[Tensor, Expected("N 1")]
Steps = Annotated[Tensor, Expected("P", "labels", any_type=True)]
LogWeights = Annotated[Tensor, Expected("P N", infinite=True, any_type=True)]
Even = Annotated[Tensor, Expected("N even")]
"""States, or means, of the even layers of a deep Boltzmann machine, the visible one first."""
Odd = Annotated[Tensor, Expected("N odd")]
"""The same of its odd layers."""
EvenOddWritten = Annotated[Tensor, Expected("even odd", "changed")]
"""Weights between its even and its odd layers."""
ShareMask = Annotated[Tensor, Expected("N 1", "mask")]
Stored = Annotated[Tensor, Expected("*", "any", any_type=True)]
"""A tensor of a file, which is held against the model's own."""
Series = Annotated[Tensor, Expected("T chains", any_type=True)]
"""A number a step of each chain."""
OtherSeries = Annotated[Tensor, Expected("_ _", any_type=True)]
Directions = Annotated[Tensor, Expected("visible K")]
Weights = Annotated[Tensor, Expected("visible hidden")]
"""A number for each weight."""
ClampValues = Annotated[Tensor, Expected("N visible", holes=True)]
"""What clamped units hold; those that are not clamped may be NaN."""
VisibleMaskOfEach = Annotated[Tensor, Expected("N visible", "mask")]
VisibleWritten = Annotated[Tensor, Expected("N visible", "changed")]
ReplicatedWritten = Annotated[Tensor, Expected("R N visible", "changed")]
BetaOfReplica = Annotated[Tensor, Expected("R")]
Pairs = Annotated[Tensor, Expected("pairs", any_type=True)]
Chain = Annotated[Tensor, Expected("M top")]
"""States of top units of persistent chains."""
ChainWritten = Annotated[Tensor, Expected("M top", "changed")]
ChainLabels = Annotated[Tensor, Expected("M", "labels", least=-2)]
ImageCases = Annotated[Tensor, Expected("N+ pixels", "cases")]
ImageRows = Annotated[Tensor, Expected("N+ _", "cases")]
"""Pictures of any size."""
