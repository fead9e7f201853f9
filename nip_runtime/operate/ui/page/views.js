// What the page shows of an answer.
import { dots, strip } from './charts.js';
import { reasonOf, scoreOf, softmax, tailOf } from './gate.js';
import { draw } from './pictures.js';

const TOP = 5;
const FATES = ['held', 'noticed', 'lost'];

export const $ = (id) => document.getElementById(id);

export function make(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === 'class') made.className = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

const number = (value, digits = 2) => value.toFixed(digits).replace(/^-(?=0\.?0*$)/, '').replace('-', '−');
export const steps = (eps) => `${Number((eps * 255).toFixed(1))}/255`;
const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)} %`;
const times = (count) => (count === 1 ? 'once' : `${count} times`);

function oneIn(share) {
  if (share > 0.2) return `${Math.round(100 * share)} % of benign images lie beyond`;
  const count = 1 / share;
  if (count > 100000) return 'beyond all benign images';
  const rounded = Number(count.toPrecision(2));
  return `1 in ${rounded.toLocaleString('en')} benign images lies beyond`;
}

export class Views {
  /** `rho` holds the stored steps of ρ, or is null. */
  constructor(facts, rho) {
    this.facts = facts;
    this.rho = rho;
    this.threads = 1;
    this.manifest = facts.manifest;
    const { classes, class_names: names } = this.manifest.output;
    this.names = names ?? Array.from({ length: classes }, (_, index) => `class ${index}`);
    this.rows = new Map();
    this.head();
    this.limits();
    this.tally();
  }

  head() {
    const { file, manifest, tool, engine } = this.facts;
    document.title = `nip ui: ${file.name}`;
    $('title').textContent = file.name;
    const [channels, height, width] = manifest.input.shape;
    const parts = [
      `${(file.size_bytes / 1048576).toFixed(2)} MiB`, `policy ${manifest.policy}`, manifest.precision,
      `${this.names.length} classes`, `${width} × ${height} ${channels === 1 ? 'grey' : 'RGB'}`, engine, tool,
    ];
    $('facts').append(parts.join(' · '), make('span', { class: 'digest' }, `sha256 ${file.sha256}`));
  }

  limits() {
    const { measured, manifest } = this.facts;
    $('limits-main').textContent = 'Attackers who know the defence and optimise against it get through, and so do attackers who may question the file often enough. It makes ready-made attacks on the network fail more often; it does not make the network robust.';
    const cases = measured ?? [];
    const said = cases.map(({ epsilon, attacks, defended }) => `with changes of at most ${steps(epsilon)}, ${defended.count} of ${defended.n} pictures were still answered rightly after ${attacks} such attacks (95 % interval ${percent(defended.low, 0)} to ${percent(defended.high, 0)})`);
    const none = measured === null ? 'No evaluation of this file was given: nip evaluate measures it, and nip ui --report shows it here.' : 'The evaluation that was given did not measure attackers who know the defence.';
    $('limits-measured').textContent = said.length ? `Measured on this very file, by attackers who know everything (T4): ${said.join('; ')}.` : none;
    $('limits-list').replaceChildren(...manifest.known_limits.map((limit) => make('li', {}, limit)));
  }

  /**
   * Everything about one answer. `shown`: benign and attacked pixels, the attack's words, and the true class; null if
   * nobody has said it, or with `isAssumed` what the network said before the attack.
   */
  answer(answer, shown) {
    this.verdict(answer, shown);
    this.cards(answer, shown);
    this.pictures(answer, shown);
    this.why(answer);
  }

  verdict(answer, { truth, attack, isAssumed = false }) {
    const [raw, label] = [this.names[answer.rawLabel], this.names[answer.label]];
    const reason = reasonOf(this.manifest.policy, answer);
    const said = {
      passed: `Network and file both say ${label}; the gate lets it pass.`,
      corrected: `The network says ${raw}. The file ${answer.flagged ? 'flags the picture and ' : ''}answers ${label}.`,
      confirmed: `The file ${answer.flagged ? 'flags the picture, and still' : 'also'} answers ${label}.`,
      detected: `The file flags the picture; by its policy it leaves the answer ${label} as it is.`,
    }[reason];
    let judged = '';
    if (truth !== null) {
      const right = answer.label === truth;
      const noticed = answer.flagged ? ' But it was noticed.' : ' And it was not noticed.';
      const [same, other] = isAssumed ? ['As before the attack.', 'Before the attack it was'] : ['That is right.', 'That is wrong: it is'];
      judged = right ? ` ${same}` : ` ${other} ${this.names[truth]}.${noticed}`;
    }
    $('verdict').textContent = `${attack ? `${attack}: ` : ''}${said}${judged}`;
    $('verdict').dataset.fate = truth === null ? 'unknown' : answer.label === truth ? 'held' : answer.flagged ? 'noticed' : 'lost';
    const second = answer.secondInput !== null ? 'both passes' : 'first pass alone';
    $('timing').textContent = `${answer.milliseconds.toFixed(1)} ms for this picture (${second}), on ${this.threads === 1 ? 'one thread' : `${this.threads} threads`} of this browser.`;
  }

  cards(answer, { truth, isAssumed = false }) {
    const shares = [softmax(answer.rawLogits), softmax(answer.logits)];
    const order = this.names.map((_, index) => index)
      .sort((one, two) => Math.max(shares[0][two], shares[1][two]) - Math.max(shares[0][one], shares[1][one]))
      .slice(0, TOP);
    const [same, other] = isAssumed ? ['as before the attack', 'changed by the attack'] : ['right', 'wrong'];
    const rightly = (label) => (truth === null ? 'true class unknown' : label === truth ? same : other);
    const reasons = { passed: 'passed', corrected: answer.flagged ? 'flagged and corrected' : 'corrected', confirmed: answer.flagged ? 'flagged and confirmed' : 'confirmed', detected: 'flagged' };
    this.card('raw', answer.rawLabel, rightly(answer.rawLabel), truth, order, shares[0], answer.rawLogits);
    const reason = reasons[reasonOf(this.manifest.policy, answer)];
    this.card('file', answer.label, `${reason} · ${rightly(answer.label)}`, truth, order, shares[1], answer.logits);
    $('card-file').classList.toggle('flagged', answer.flagged);
  }

  card(side, label, badge, truth, order, shares, logits) {
    $(`${side}-label`).textContent = this.names[label];
    $(`${side}-badge`).textContent = badge;
    $(`card-${side}`).dataset.right = truth === null ? 'unknown' : String(label === truth);
    $(`${side}-bars`).replaceChildren(...order.map((index) => {
      const bar = make('meter', { min: 0, max: 1, value: shares[index], 'aria-label': `${this.names[index]}: ${percent(shares[index])}, logit ${number(logits[index])}` });
      const row = make('div', { class: index === label ? 'bar chosen' : 'bar' });
      row.append(make('span', { class: 'name' }, this.names[index]), bar, make('span', { class: 'logit', title: 'logit' }, number(logits[index], 1)));
      return row;
    }));
  }

  pictures(answer, { benign, pixels, attack }) {
    const { input, gate } = this.manifest;
    const figures = [this.figure('the picture', attack ? 'before the attack' : '', benign)];
    if (attack) {
      const change = pixels.map((value, index) => value - benign[index]);
      const most = change.reduce((found, value) => Math.max(found, Math.abs(value)), 0);
      const gain = most > 0 ? 0.5 / most : 1;
      figures.push(
        this.figure('attacked', 'what the file is given', pixels),
        this.figure('the change', most > 0 ? `at most ${steps(most)}, shown ${Math.round(gain)} times as large` : 'none', change, (value) => 0.5 + gain * value),
      );
    }
    const view = [...(gate?.view ?? []), ...(gate === null || gate.rho ? ['ρ'] : [])].join(' + ');
    figures.push(answer.secondInput === null
      ? this.missing('second view', 'not needed: the first pass raised no doubt')
      : this.figure('second view', view, answer.secondInput));
    const { rho } = this;
    if (rho === null) figures.push(this.missing('ρ', 'this file adds none: it did not help on benign images'));
    else {
      const { rows, shape } = this.manifest.defence.bank;
      const size = shape.reduce((product, length) => product * length, 1);
      const row = rows > 1 ? answer.candidate : 0;
      const eps = this.manifest.defence.eps_pixel;
      const part = Float32Array.from(rho.subarray(row * size, (row + 1) * size), (value) => value / 127);
      figures.push(this.figure('inverse perturbation ρ', `at most ${steps(eps)}, shown ${Math.round(0.5 / eps)} times as large`, part, (value) => 0.5 + 0.5 * value, shape));
    }
    $('pictures').replaceChildren(...figures);
  }

  figure(title, note, values, toLight = undefined, shape = this.manifest.input.shape) {
    const canvas = make('canvas', { role: 'img', 'aria-label': note ? `${title}: ${note}` : title });
    draw(canvas, values, shape, toLight);
    return make('figure', {}, canvas, make('figcaption', {}, make('b', {}, title), note));
  }

  missing(title, note) {
    return make('figure', { class: 'missing' }, make('div', {}, '–'), make('figcaption', {}, make('b', {}, title), note));
  }

  why(answer) {
    this.last = answer;
    const { tests, suspicion } = this.facts.watched;
    const threshold = this.manifest.defence.flag_threshold;
    const score = tests.length ? scoreOf(tests, answer.statistics) : null;
    const share = answer.suspicion > 0.9995 ? 'all' : `${percent(answer.suspicion)} of`;
    const words = `More suspicious than ${share} benign images.`;
    const loudest = tests.filter((test) => answer.statistics[test.key] !== null)
      .sort((one, two) => tailOf(two, answer.statistics[two.key]) - tailOf(one, answer.statistics[one.key]))[0];
    const reason = loudest === undefined ? '' : `; the loudest test is ${loudest.title.toLowerCase()}`;
    $('suspicion-text').textContent = `${words} ${answer.flagged ? `Flagged${reason}.` : 'Not flagged.'}`;
    if (suspicion !== null) {
      dots($('suspicion-chart'), { curve: suspicion, threshold, score, flagged: answer.flagged, label: `Scores of benign images; this picture ${score === null ? '' : `has ${number(score)}, and `}${answer.flagged ? 'is' : 'is not'} beyond the cut at ${number(threshold)}. ${words}` });
    }
    const { images, flag_rate: rate } = this.manifest.calibration;
    $('suspicion-note').textContent = `Each dot is one in a hundred of ${images.toLocaleString('en')} benign images. The cut is set on them alone: of those that the network answers rightly it flags ${percent(rate.value)}.`;
    this.tests(answer, score, threshold);
  }

  tests(answer, score, threshold) {
    const { tests } = this.facts.watched;
    const isComplete = tests.every((test) => answer.statistics[test.key] !== null);
    const share = this.manifest.calibration.pass2_rate.value;
    $('tests-text').textContent = score === null ? 'This file is too old to show its tests.'
      : isComplete ? `Together they score ${number(score)}; beyond ${number(threshold)} a picture is flagged.`
        : `The first pass raised no doubt, so the second was spared, as for ${percent(1 - share, 0)} of benign images.`;
    const rows = tests.map((test) => {
      const statistic = answer.statistics[test.key];
      const said = statistic === null ? 'not needed' : oneIn(10 ** -tailOf(test, statistic));
      const chart = make('div', { class: 'strip' });
      const row = make('div', { class: statistic === null ? 'test idle' : 'test' }, make('p', {}, make('b', {}, test.title), test.meaning), chart, make('p', { class: 'said' }, said));
      return { row, chart, what: { test, statistic, label: `${test.title}: ${said}` } };
    });
    $('tests').replaceChildren(...rows.map(({ row }) => row));
    for (const { chart, what } of rows) strip(chart, what); // behind the others: only what stands in the page has a width
  }

  /** Count what became of attacked rows: [{fate, rawRight}] under a name. */
  count(name, outcomes, { isAttack = true } = {}) {
    const row = this.rows.get(name) ?? { name, isAttack, count: 0, rawRight: 0, held: 0, noticed: 0, lost: 0 };
    for (const { fate, rawRight } of outcomes) {
      row.count += 1;
      row.rawRight += rawRight ? 1 : 0;
      row[fate] += 1;
    }
    this.rows.set(name, row);
    this.tally();
  }

  forget(name) {
    this.rows.delete(name);
  }

  tally() {
    const attacked = [...this.rows.values()].filter((row) => row.isAttack);
    const sum = (key) => attacked.reduce((total, row) => total + row[key], 0);
    const [count, noticed, lost] = [sum('count'), sum('noticed'), sum('lost')];
    const wrong = noticed + lost;
    const said = wrong ? `, answered wrongly ${times(wrong)}, ${noticed} of them flagged: ${lost} got through unnoticed.` : ', and answered rightly every time.';
    $('score-text').textContent = count
      ? `Attacked ${times(count)}${said}`
      : 'Nothing was attacked yet. Every attack that is run below, or live above, is counted here.';
    $('score-rows').replaceChildren(...[...this.rows.values()].map((row) => {
      const cells = [row.count, row.rawRight, row.held, row.noticed, row.lost].map((value) => make('td', {}, String(value)));
      const stack = make('div', { class: 'stack' }, ...FATES.filter((fate) => row[fate]).map((fate) => {
        const part = make('i', { class: fate, title: `${row[fate]} ${fate}` });
        part.style.flexGrow = String(row[fate]);
        return part;
      }));
      return make('tr', {}, make('th', { scope: 'row' }, row.name), ...cells, make('td', { class: 'share' }, stack));
    }));
  }
}
