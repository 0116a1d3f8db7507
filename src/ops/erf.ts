/**
 * The error function in Float64, for references: its Maclaurin series below 3, and above it the continued fraction
 * of erfc (Abramowitz and Stegun 7.1.5 and 7.1.14). Accurate to about 1e-15.
 */
export function erf(x: number): number {
  const a = Math.abs(x);
  if (Number.isNaN(x)) return x;
  if (a >= 6) return Math.sign(x);
  if (a < 3) {
    // 2/√π Σ (-1)^n x^(2n+1) / (n! (2n+1)), summed as e^(-x²) Σ 2^n x^(2n+1) / (2n+1)!! so that no term cancels
    let term = a;
    let sum = a;
    for (let n = 1; term > 1e-17 * sum; n++) sum += term *= (2 * a * a) / (2 * n + 1);
    return (Math.sign(x) * 2 * sum * Math.exp(-a * a)) / Math.sqrt(Math.PI);
  }
  let fraction = 0;
  for (let n = 60; n > 0; n--) fraction = n / 2 / (a + fraction);
  return Math.sign(x) * (1 - Math.exp(-a * a) / (Math.sqrt(Math.PI) * (a + fraction)));
}
