"""Generated maps against true maps, beside a null: the fidelity report.

Truth T and null N are two sets of true maps from *different* simulations, G is generated. Every number is given for G
against T and for N against T: a generator is as good as the simulations when its number lies inside the null's 95 %
interval. Errors come from a bootstrap over simulations, of both sets at once. For each statistic, and for all joined:

* mean: ratio ⟨G⟩/⟨T⟩ in each bin, and the shift (⟨G⟩ − ⟨T⟩)/σ_T in units of the scatter of one map;
* scatter: ratio σ_G/σ_T in each bin;
* correlation slope: least squares through zero of the off-diagonal correlation coefficients of G on those of T,
  Σ ρ_G ρ_T / Σ ρ_T². 1 is right; noise in ρ_T pulls it down, for the null as for G, which is why the null is beside it;
* tails: peaks above 4σ of the true maps, and the PDF at the ends where it falls to 10⁻³ of its maximum.
"""

from .estimate import Estimate
from .report import NULL, FidelityReport, Verdict, compare, correlation_slope, judge

__all__ = ["NULL", "Estimate", "FidelityReport", "Verdict", "compare", "correlation_slope", "judge"]
