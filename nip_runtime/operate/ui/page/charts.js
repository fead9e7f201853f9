// Charts as SVG, drawn to the width that they have.
import { beyond, invert } from './gate.js';

const SVG = 'http://www.w3.org/2000/svg';
const DOTS = 100;
const MOST_TALL = 200;

export function element(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const text = (x, y, words, anchor, kind) => element('text', { x, y, 'text-anchor': anchor, class: kind }, words);

/** A hundred benign images as dots by their score, and this picture among them. */
export function dots(place, { curve, threshold, score, flagged, label }) {
  const width = Math.max(Math.min(place.clientWidth || 480, 640), 240);
  const benign = Array.from({ length: DOTS }, (_, index) => invert(curve, (index + 0.5) / DOTS));
  const low = Math.min(benign[0], 0);
  const high = Math.max(benign.at(-1), threshold * 1.4);
  const [left, right] = [8, width - 14];
  const bins = Math.max(Math.floor((right - left) / 8), 12);
  const pitch = (right - left) / bins;
  const binOf = (value) => Math.min(Math.max(Math.floor(((value - low) / (high - low)) * bins), 0), bins - 1);
  const stacks = new Array(bins).fill(0);
  for (const value of benign) stacks[binOf(value)] += 1;
  const tallest = Math.max(...stacks);
  const rise = Math.min(pitch, MOST_TALL / tallest);
  const top = 34;
  const bottom = top + Math.max(tallest * rise, 60);
  const at = (value) => left + ((Math.min(Math.max(value, low), high) - low) / (high - low)) * (right - left);
  const chart = element('svg', { width, height: bottom + 22, viewBox: `0 0 ${width} ${bottom + 22}`, role: 'img', 'aria-label': label });
  chart.append(element('line', { x1: left, x2: right, y1: bottom + 1, y2: bottom + 1, class: 'axis' }));
  stacks.forEach((count, bin) => {
    for (let dot = 0; dot < count; dot += 1) {
      const x = left + (bin + 0.5) * pitch;
      const beyondCut = low + ((bin + 0.5) / bins) * (high - low) > threshold;
      chart.append(element('circle', { cx: x, cy: bottom - (dot + 0.5) * rise, r: Math.max(Math.min(pitch, rise) / 2 - 0.5, 1), class: beyondCut ? 'dot beyond' : 'dot' }));
    }
  });
  const cut = at(threshold);
  chart.append(element('line', { x1: cut, x2: cut, y1: top - 8, y2: bottom, class: 'cut' }));
  chart.append(text(cut + 5, bottom + 16, 'flagged →', cut > width - 80 ? 'end' : 'start', 'soft'));
  chart.append(text(left, bottom + 16, 'ordinary', 'start', 'soft'));
  if (score !== null) {
    const x = at(score);
    const kind = flagged ? 'mark bad' : 'mark';
    chart.append(element('line', { x1: x, x2: x, y1: 20, y2: bottom, class: kind }));
    chart.append(element('path', { d: `M${x - 6} 18h12l-6 9z`, class: `${kind} filled` }));
    const anchor = x > width * 0.6 ? 'end' : 'start';
    const words = score > high ? 'this picture, far beyond' : 'this picture';
    chart.append(text(anchor === 'end' ? Math.min(x + 8, width - 2) : Math.max(x - 6, 2), 12, words, anchor, 'strong'));
  }
  place.replaceChildren(chart);
}

const LOWEST = -3;
const HIGHEST = 9;

/** One test: benign images as a band, this picture as a mark. */
export function strip(place, { test, statistic, label }) {
  const width = Math.max(place.clientWidth || 260, 120);
  const [left, right] = [5, width - 7];
  const at = (value) => left + ((Math.min(Math.max(value, LOWEST), HIGHEST) - LOWEST) / (HIGHEST - LOWEST)) * (right - left);
  const chart = element('svg', { width, height: 24, viewBox: `0 0 ${width} 24`, role: 'img', 'aria-label': label });
  const band = (from, to, kind) => {
    const [start, stop] = [at(beyond(test, from)), at(beyond(test, to))];
    return element('rect', { x: start, y: 6, width: Math.max(stop - start, 2), height: 12, rx: 3, class: kind });
  };
  chart.append(element('line', { x1: left, x2: right, y1: 12, y2: 12, class: 'axis' }), band(0.9, 0.01, 'band'), band(0.75, 0.25, 'band inner'));
  if (statistic !== null) {
    const x = at(statistic);
    const kind = statistic > beyond(test, 0.01) ? 'mark bad' : 'mark';
    if (statistic > HIGHEST) chart.append(element('path', { d: `M${x - 6} 4v16l11-8z`, class: `${kind} filled` }));
    else chart.append(element('rect', { x: x - 2, y: 1, width: 4, height: 22, rx: 2, class: `${kind} filled` }));
  }
  place.replaceChildren(chart);
}
