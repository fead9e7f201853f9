// The page: which picture, which attack, and what is shown of it.
import { withNoise, withPattern } from './attacks.js';
import { listenToCamera } from './camera.js';
import { Client } from './client.js';
import { Examples } from './examples.js';
import { draw, readPicture, toPixels } from './pictures.js';
import { Trials } from './trials.js';
import { $, Views, make, steps } from './views.js';

const SQUARE_EPS = [2, 4, 8, 16, 25, 48];
const BUSY = '#square-one, #square-all, #run-all, #camera, #file, #gallery, #kinds, #square-sees, #square-eps, #square-queries';
const state = { picture: null, truth: null, example: null, seed: 1, turn: 0, kind: 'none', isBusy: false };
const client = new Client();
let facts, views, examples, shape;

async function start() {
  const load = async (name) => {
    const response = await fetch(name);
    if (!response.ok) throw new Error(`${name}: ${response.status} ${response.statusText}`);
    return response;
  };
  facts = await (await load('facts.json')).json();
  shape = facts.manifest.input.shape;
  examples = new Examples(facts, new Uint8Array(await (await load('examples.bin')).arrayBuffer()));
  views = new Views(facts, facts.has_bank ? new Int8Array(await (await load('bank.bin')).arrayBuffer()) : null);
  views.threads = (await client.open(facts)).threads;
  $('page').hidden = false;
  gallery();
  attacks();
  listen();
  working(false);
  new Trials({ client, views, examples, state, quietly, working, failed });
  const isolated = self.crossOriginIsolated ? '' : ' One thread: this server does not send the headers that threads need.';
  $('status').textContent = `Ready.${isolated}`;
  $('status').classList.add('ready');
  if (examples.count) await choose(0);
  else $('verdict').textContent = 'Choose an image, drop one, or take a picture.';
}

// Pictures

const tell = (note) => { $('source-note').textContent = note; };
const radios = () => $('gallery').querySelectorAll('input');

function gallery() {
  const { count, labels, names } = examples;
  $('gallery').hidden = count === 0;
  for (let index = 0; index < count; index += 1) {
    const canvas = make('canvas', { 'aria-hidden': 'true' });
    draw(canvas, toPixels(examples.picture(index), shape), shape);
    const what = [labels[index] === null ? '' : views.names[labels[index]], names[index]].filter(Boolean).join(', ');
    const name = `Example ${index + 1}${what ? `: ${what}` : ''}`;
    const input = make('input', { type: 'radio', name: 'example', value: index, class: 'unseen', 'aria-label': name });
    input.addEventListener('change', () => choose(index));
    $('gallery').append(make('label', { title: what }, input, canvas));
  }
}

/** Take an example, and show nothing of it yet. */
function quietly(index) {
  const truth = examples.labels[index];
  const name = examples.names[index];
  radios()[index].checked = true;
  const what = truth === null ? 'its true class is not known' : `it is ${views.names[truth]}`;
  take(examples.picture(index), `${name || `Example ${index + 1}`}: ${what}.`, { truth, example: index });
}

function choose(index) {
  quietly(index);
  return show();
}

async function own(blob) {
  try {
    const { picture, isResized, isPinned } = await readPicture(blob, facts.manifest.input);
    const how = isPinned ? ' Resized here as the file says.' : ' Its middle was resized here; the file itself states no resize.';
    take(picture, `${blob.name ?? 'Your image'}: its true class is not known.${isResized ? how : ''}`);
    await show();
  } catch (error) {
    tell(error.message);
  }
}

function take(picture, note, { truth = null, example = null } = {}) {
  Object.assign(state, { picture, truth, example });
  if (example === null) for (const input of radios()) input.checked = false;
  tell(note);
  const isPrepared = examples.isPrepared(example);
  $('prepared').disabled = !isPrepared;
  $('prepared-note').textContent = isPrepared ? '' : 'There is none for this picture: choose one of the first examples.';
}

// Attacks

function attacks() {
  examples.attacks.forEach(({ name, eps }, index) => {
    const input = make('input', { type: 'radio', name: 'prepared', value: index });
    input.checked = index === 0;
    input.addEventListener('change', show);
    $('prepared').append(make('label', {}, input, make('span', {}, `${name} ${eps}/255`)));
  });
  for (const eps of SQUARE_EPS) {
    const option = make('option', { value: eps }, `${eps}/255`);
    option.selected = eps === 8;
    $('square-eps').append(option);
  }
  for (const [kind, isThere] of [['prepared', examples.attacks.length > 0], ['universal', examples.universal]]) {
    const input = document.querySelector(`input[name=kind][value=${kind}]`);
    input.disabled = !isThere;
    if (!isThere) input.parentElement.title = 'Made with the export: nip export --ui-examples';
  }
}

/** The pixels that the file is given, and the attack in words; '' for none. */
function attack(benign) {
  const [strength, sigma] = [Number($('universal-eps').value) / 255, Number($('noise-sigma').value) / 255];
  $('universal-value').textContent = steps(strength);
  $('noise-value').textContent = steps(sigma);
  if (state.kind === 'prepared' && examples.isPrepared(state.example)) {
    const index = Number(document.querySelector('input[name=prepared]:checked').value);
    const { name, eps } = examples.attacks[index];
    return [examples.attacked(index, state.example), `${name} ${eps}/255`];
  }
  if (state.kind === 'universal' && strength > 0) return [withPattern(benign, examples.pattern(), strength), `Universal perturbation ${steps(strength)}`];
  if (state.kind === 'noise' && sigma > 0) return [withNoise(benign, sigma, state.seed), `Noise ${steps(sigma)}`];
  return [benign, ''];
}

async function show() {
  if (state.picture === null || state.isBusy) return;
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

// The rest

function working(isBusy) {
  state.isBusy = isBusy;
  for (const control of document.querySelectorAll(BUSY)) control.disabled = isBusy;
  $('square-stop').disabled = !isBusy;
  $('square-all').disabled ||= examples.count === 0;
  $('run-all').disabled ||= examples.attacks.length === 0;
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
  $('file').addEventListener('change', () => {
    if ($('file').files.length) own($('file').files[0]);
    $('file').value = '';
  });
  listenToCamera(facts.manifest.input, (picture) => {
    take(picture, 'From the camera: its true class is not known.');
    show();
  }, tell);
  document.addEventListener('dragover', (event) => event.preventDefault());
  document.addEventListener('drop', (event) => {
    event.preventDefault();
    const [file] = event.dataTransfer.files;
    if (file && !state.isBusy) own(file);
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
