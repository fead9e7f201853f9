// The gate's arithmetic, as far as the page shows it: stored curves, and why a row has the answer it has.

/** A curve at x: base + Σ slope · min(max(x − knot, 0), width). */
export function evaluate(curve, x) {
  let value = curve.base;
  curve.knots.forEach((knot, index) => {
    const next = curve.knots[index + 1] ?? Infinity;
    value += curve.slopes[index] * Math.min(Math.max(x - knot, 0), next - knot);
  });
  return value;
}

/** The smallest x with evaluate(curve, x) ≥ value; the last knot if the curve stays below. */
export function invert(curve, value) {
  let reached = curve.base;
  for (let index = 0; index < curve.knots.length; index += 1) {
    if (reached >= value) return curve.knots[index];
    const width = (curve.knots[index + 1] ?? Infinity) - curve.knots[index];
    const gain = curve.slopes[index] * width;
    if (curve.slopes[index] > 0 && reached + gain >= value) {
      return curve.knots[index] + (value - reached) / curve.slopes[index];
    }
    if (Number.isFinite(gain)) reached += gain;
  }
  return curve.knots.at(-1);
}

/** What a test says: −log₁₀ of the share of benign images beyond its statistic. */
export const tailOf = (test, statistic) => evaluate(test.tail, statistic);

/** The statistic beyond which a share of benign images lies. */
export const beyond = (test, share) => invert(test.tail, -Math.log10(share));

/** The combined score: the tests' sum, of those that ran. */
export function scoreOf(tests, statistics) {
  const ran = tests.filter((test) => statistics[test.key] !== null);
  return ran.reduce((sum, test) => sum + tailOf(test, statistics[test.key]), 0);
}

export function argmax(values) {
  let best = 0;
  for (let index = 1; index < values.length; index += 1) if (values[index] > values[best]) best = index;
  return best;
}

/** Why a row has the label it has, in the words of nip_runtime.Reason. */
export function reasonOf(policy, answer) {
  if (answer.label !== answer.rawLabel) return 'corrected';
  if (policy === 'always') return 'confirmed';
  if (!answer.flagged) return 'passed';
  return policy === 'detect' ? 'detected' : 'confirmed';
}

/** What became of an attacked row whose true class is known: held, noticed (wrong, but flagged) or lost. */
export const fateOf = (answer, truth) => (answer.label === truth ? 'held' : answer.flagged ? 'noticed' : 'lost');

export function softmax(logits) {
  const most = Math.max(...logits);
  const powers = Array.from(logits, (logit) => Math.exp(logit - most));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}
