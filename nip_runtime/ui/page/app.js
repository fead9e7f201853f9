// The page: which picture, which attack, and what becomes of it.
import { withNoise, withPattern } from './attacks.js';
import { Client } from './client.js';
import { fateOf } from './gate.js';
import { draw, readPicture, snap, toPattern, toPixels } from './pictures.js';
import { $, Views, make, steps } from './views.js';

const SQUARE_EPS = [2, 4, 8, 16, 25, 48];
const state = { picture: null, truth: null, name: '', example: null, seed: 1, turn: 0, kind: 'none', busy: false };
let facts, views, client, examples, shape;

async function start() {
  const load = async (name) => {
    const response = await fetch(name);
    if (!response.ok) throw new Error(`${name}: ${response.status} ${response.statusText}`);
    return response;
  };
  facts = await (await load('facts.json')).json();
  shape = facts.manifest.input.shape;
  examples = new Uint8Array(await (await load('examples.bin')).arrayBuffer());
  views = new Views(facts);
  views.rho = facts.has_bank ? new Int8Array(await (await load('bank.bin')).arrayBuffer()) : null;
  client = new Client();
  const { threads } = await client.open(facts);
  facts.threads = threads;
  $('page').hidden = false;
  gallery();
  attacks();
  listen();
  const isolated = self.crossOriginIsolated ? '' : ' One thread: this server does not send the headers that threads need.';
  $('status').textContent = `Ready.${isolated}`;
  $('status').classList.add('ready');
  if (facts.examples.count) await choose(0);
  else $('verdict').textContent = 'Choose an image, drop one, or take a picture.';
}

// Pictures

const size = () => shape.reduce((product, length) => product * length, 1);
const example = (index) => examples.subarray(index * size(), (index + 1) * size());
const attacked = (attack, index) => {
  const at = facts.examples.count + attack * facts.examples.prepared + index;
  return examples.subarray(at * size(), (at + 1) * size());
};
const pattern = () => toPattern(new Int8Array(examples.buffer, examples.length - size(), size()), shape, 127);
const isPrepared = () => state.example !== null && state.example < facts.examples.prepared;

function gallery() {
  const { count, labels, names } = facts.examples;
  $('gallery').hidden = count === 0;
  for (let index = 0; index < count; index += 1) {
    const canvas = make('canvas', { 'aria-hidden': 'true' });
    draw(canvas, toPixels(example(index), shape), shape);
    const what = [labels[index] === null ? '' : views.names[labels[index]], names[index]].filter(Boolean).join(', ');
    const input = make('input', { type: 'radio', name: 'example', value: index, class: 'unseen' });
    input.setAttribute('aria-label', `Example ${index + 1}${what ? `: ${what}` : ''}`);
    input.addEventListener('change', () => choose(index));
    $('gallery').append(make('label', { title: what }, input, canvas));
  }
}

function choose(index) {
  const { labels, names } = facts.examples;
  const truth = labels[index];
  $('gallery').querySelectorAll('input')[index].checked = true;
  return take({ picture: example(index), truth, example: index, name: names[index] || `Example ${index + 1}` }, truth === null ? `${names[index]}; its true class is not known.` : `The picture is ${views.names[truth]}${names[index] ? ` (${names[index]})` : ''}.`);
}

async function own(blob) {
  try {
    const { picture, isResized, isPinned } = await readPicture(blob, facts.manifest.input);
    const fitted = isResized ? isPinned ? ' Resized here as the file says.' : ' Its middle was resized here; the file itself states no resize.' : '';
    await take({ picture, truth: null, example: null, name: blob.name ?? 'your image' }, `${blob.name ?? 'Your image'}; its true class is not known.${fitted}`);
  } catch (error) {
    $('source-note').textContent = error.message;
  }
}

function take(chosen, note) {
  Object.assign(state, chosen);
  if (chosen.example === null) for (const input of $('gallery').querySelectorAll('input')) input.checked = false;
  $('source-note').textContent = note;
  prepared();
  return show();
}

// Attacks

function attacks() {
  facts.examples.attacks.forEach(({ name, eps }, index) => {
    const input = make('input', { type: 'radio', name: 'prepared', value: index });
    if (index === 0) input.checked = true;
    input.addEventListener('change', show);
    $('prepared').append(make('label', {}, input, make('span', {}, `${name} ${eps}/255`)));
  });
  for (const eps of SQUARE_EPS) {
    const option = make('option', { value: eps }, `${eps}/255`);
    option.selected = eps === 8;
    $('square-eps').append(option);
  }
  for (const [kind, there] of [['prepared', facts.examples.attacks.length > 0], ['universal', facts.examples.universal]]) {
    const input = document.querySelector(`input[name=kind][value=${kind}]`);
    input.disabled = !there;
    if (!there) input.parentElement.title = 'Made with the export: nip export --ui-examples';
  }
  $('square-all').disabled = facts.examples.count === 0;
  $('run-all').disabled = facts.examples.attacks.length === 0;
}

function prepared() {
  const has = isPrepared();
  $('prepared').disabled = !has;
  $('prepared-note').textContent = has ? '' : 'There is none for this picture: choose one of the first examples.';
}

/** The pixels that the file is given, and the attack in words; '' for none. */
function attack(benign) {
  const [strength, sigma] = [Number($('universal-eps').value) / 255, Number($('noise-sigma').value) / 255];
  $('universal-value').textContent = steps(strength);
  $('noise-value').textContent = steps(sigma);
  if (state.kind === 'prepared' && isPrepared()) {
    const index = Number(document.querySelector('input[name=prepared]:checked').value);
    const { name, eps } = facts.examples.attacks[index];
    return [toPixels(attacked(index, state.example), shape), `${name} ${eps}/255`];
  }
  if (state.kind === 'universal' && strength > 0) return [withPattern(benign, pattern(), strength), `Universal perturbation ${steps(strength)}`];
  if (state.kind === 'noise' && sigma > 0) return [withNoise(benign, sigma, state.seed), `Noise ${steps(sigma)}`];
  return [benign, ''];
}

async function show() {
  if (state.picture === null || state.busy) return;
  state.turn += 1;
  const { turn, truth } = state;
  const benign = toPixels(state.picture, shape);
  const [pixels, words] = attack(benign);
  try {
    const answer = await client.look(pixels);
    if (turn === state.turn) views.answer(answer, { benign, pixels, truth, attack: words }); // else another choice was made meanwhile
  } catch (error) {
    failed(error);
  }
}

/** Runs the prepared attacks on the pictures that they were made for, and counts. */
async function runAll() {
  const { prepared: rows, labels, attacks: all } = facts.examples;
  working(true);
  try {
    const batch = (part) => {
      const pixels = new Float32Array(rows * size());
      for (let row = 0; row < rows; row += 1) pixels.set(toPixels(part(row), shape), row * size());
      return pixels;
    };
    const run = async (name, part, isAttack) => {
      const answers = await client.many(batch(part), rows);
      views.forget(name); // a second time counts the same once
      views.count(name, answers.map((answer, row) => outcome(answer, labels[row])), { isAttack });
    };
    await run('no attack', example, false);
    for (const [index, { name, eps }] of all.entries()) await run(`${name} ${eps}/255`, (row) => attacked(index, row), true);
  } catch (error) {
    failed(error);
  } finally {
    working(false);
  }
}

const outcome = (answer, truth) => ({ fate: fateOf(answer, truth), rawRight: answer.rawLabel === truth });

async function square(everything) {
  if (state.picture === null) return;
  const targets = everything ? Array.from({ length: facts.examples.count }, (_, index) => index) : [state.example];
  working(true);
  state.stopped = false;
  try {
    for (const [done, index] of targets.entries()) {
      if (state.stopped) break;
      if (everything) await quietly(index);
      await squareOne(everything ? `${done + 1} of ${targets.length}: ` : '');
    }
  } catch (error) {
    failed(error);
  } finally {
    working(false);
  }
}

const quietly = (index) => {
  $('gallery').querySelectorAll('input')[index].checked = true;
  Object.assign(state, { picture: example(index), truth: facts.examples.labels[index], example: index });
};

async function squareOne(prefix) {
  const eps = Number($('square-eps').value) / 255;
  const queries = Number($('square-queries').value);
  const sees = document.querySelector('input[name=sees]:checked').value;
  const benign = toPixels(state.picture, shape);
  state.turn += 1;
  const before = await client.look(benign);
  if (state.stopped) return;
  // Where nobody has said what it is, what the network says of the unattacked picture is taken for the truth.
  const truth = state.truth ?? before.rawLabel;
  const words = `Square ${steps(eps)}, sees the ${sees}`;
  const say = (text) => { $('square-text').textContent = prefix + text; };
  $('square-canvas').hidden = false;
  draw($('square-canvas'), benign, shape);
  const result = await client.square({ pixels: benign, truth, eps, queries, sees, seed: state.seed }, ({ asked, loss, pixels }) => {
    draw($('square-canvas'), pixels, shape);
    $('square-progress').value = asked / queries;
    say(`${asked} of ${queries} questions asked, ${Math.max(loss, 0).toFixed(2)} from a mistake.`);
  });
  state.seed += 1;
  $('square-progress').value = result.asked / queries;
  draw($('square-canvas'), result.pixels, shape);
  views.answer(await client.look(result.pixels), { benign, pixels: result.pixels, truth, attack: words });
  const made = result.loss < 0;
  if (!made && result.stopped) {
    state.stopped = true;
    say(`Stopped after ${result.asked} questions; not counted.`);
    return;
  }
  say(`${made ? `The ${sees === 'file' ? 'file' : 'network'} makes a mistake` : 'No mistake'} after ${result.asked} questions.`);
  views.count(words, [outcome(result.answer, truth)]);
}

function working(busy) {
  state.busy = busy;
  for (const id of ['square-one', 'square-all', 'run-all', 'camera', 'file']) $(id).disabled = busy;
  for (const input of document.querySelectorAll('#gallery, #kinds, #square-sees')) input.disabled = busy;
  $('square-eps').disabled = busy;
  $('square-queries').disabled = busy;
  $('square-stop').disabled = !busy;
  if (!busy) attacksAllowed();
}

function attacksAllowed() {
  $('square-all').disabled = facts.examples.count === 0;
  $('run-all').disabled = facts.examples.attacks.length === 0;
}

// The camera

async function openCamera() {
  const dialog = $('camera-dialog');
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 } });
    $('camera-video').srcObject = stream;
    dialog.addEventListener('close', () => stream.getTracks().forEach((track) => track.stop()), { once: true });
    dialog.showModal();
    await $('camera-video').play();
  } catch (error) {
    dialog.close();
    $('source-note').textContent = navigator.mediaDevices ? `The camera cannot be used: ${error.message}.` : 'The camera needs https, or this machine’s own address.';
  }
}

function listen() {
  for (const input of document.querySelectorAll('input[name=kind]')) {
    input.addEventListener('change', () => {
      state.kind = input.value;
      for (const panel of document.querySelectorAll('.panel')) panel.hidden = panel.dataset.kind !== input.value;
      show();
    });
  }
  $('universal-eps').addEventListener('input', show);
  $('noise-sigma').addEventListener('input', show);
  $('noise-again').addEventListener('click', () => { state.seed += 1; show(); });
  $('run-all').addEventListener('click', runAll);
  $('square-one').addEventListener('click', () => square(false));
  $('square-all').addEventListener('click', () => square(true));
  $('square-stop').addEventListener('click', () => { state.stopped = true; client.stop(); });
  $('file').addEventListener('change', () => { if ($('file').files.length) own($('file').files[0]); $('file').value = ''; });
  $('camera').addEventListener('click', openCamera);
  $('camera-close').addEventListener('click', () => $('camera-dialog').close());
  $('camera-take').addEventListener('click', () => {
    const picture = snap($('camera-video'), facts.manifest.input);
    $('camera-dialog').close();
    take({ picture, truth: null, example: null, name: 'camera' }, 'From the camera; its true class is not known.');
  });
  document.addEventListener('dragover', (event) => event.preventDefault());
  document.addEventListener('drop', (event) => {
    event.preventDefault();
    const [file] = event.dataTransfer.files;
    if (file && !state.busy) own(file);
  });
  let width = window.innerWidth;
  window.addEventListener('resize', () => {
    if (window.innerWidth === width || !views.last) return;
    width = window.innerWidth;
    views.why(views.last);
  });
}

function failed(error) {
  $('status').classList.remove('ready');
  $('status').textContent = `It does not run here: ${error.message}`;
}

start().catch(failed);
