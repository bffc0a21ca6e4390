// Draws what the events say. Names in them come from strangers: they reach the page as text only.
'use strict';

const KEPT = 600;
const CLASSES = ['other', '1xx', '2xx', '3xx', '4xx', '5xx'];
const CLASS_COLOURS = ['#888888', '#7fa6c9', '#3a9d5d', '#4477aa', '#dd9933', '#cc3344'];
const SERVER_COLOURS = ['#4477aa', '#dd9933', '#3a9d5d', '#cc3344', '#8866bb', '#338899', '#bb7755', '#aa5599',
  '#777777', '#99aa33', '#5566cc', '#cc7799', '#55aa99', '#996633', '#7799bb', '#999999'];
const byId = (id) => document.getElementById(id);
const number = (value) => Number(value) || 0;

let seconds = [];
let names = [];
let group = '';
let pages = [];
let daemons = [];
// By what tells one from another.
let programs = new Map();
let paused = false;

// The mean of the last ten seconds.
function rate(select) {
  const last = seconds.slice(-10);
  return last.length ? last.reduce((sum, second) => sum + number(select(second)), 0) / last.length : 0;
}

function size(bytes) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let unit = 0;
  for (; bytes >= 1000 && unit < units.length - 1; unit++) bytes /= 1000;
  return `${bytes.toFixed(unit && bytes < 100 ? 1 : 0)} ${units[unit]}`;
}

const hits = (value) => value.toFixed(value < 100 ? 1 : 0);

// Rows of a table. A cell is text, or { text, colour, number, bad }.
function fill(body, rows, columns) {
  const cellOf = (content) => {
    const { text, colour, number, bad } = typeof content === 'object' ? content : { text: content };
    const cell = document.createElement('td');
    if (colour) {
      const swatch = cell.appendChild(document.createElement('span'));
      swatch.className = 'swatch';
      swatch.style.background = colour;
    }
    if (number) cell.classList.add('number');
    if (bad) cell.classList.add('bad');
    cell.append(String(text));
    return cell;
  };
  if (!rows.length) {
    const cell = cellOf('none');
    cell.className = 'none';
    cell.colSpan = columns;
    rows = [[cell]];
  }
  body.replaceChildren(...rows.map((cells) => {
    const row = document.createElement('tr');
    row.append(...cells.map((cell) => cell instanceof Node ? cell : cellOf(cell)));
    return row;
  }));
}

// A round number of lines across the graph.
function stepOf(top) {
  const power = 10 ** Math.floor(Math.log10(top / 2));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => top / step <= 4) || top;
}

// A stacked graph of the chosen minutes, the newest second at the right.
function draw(canvas, count, select, colours) {
  const scale = window.devicePixelRatio || 1;
  const width = canvas.width = Math.round(canvas.clientWidth * scale);
  const height = canvas.height = Math.round(canvas.clientHeight * scale);
  const context = canvas.getContext('2d');
  const style = getComputedStyle(document.documentElement);
  const shown = number(byId('minutes').value) * 60;
  const visible = seconds.slice(-shown);
  const sum = (second) => { let all = 0; for (let i = 0; i < count; i++) all += number(select(second, i)); return all; };
  const top = Math.max(1, ...visible.map(sum)) * 1.05;
  const foot = height - 16 * scale;
  const step = width / shown;
  visible.forEach((second, index) => {
    const left = Math.floor(width - (visible.length - index) * step);
    const right = Math.floor(width - (visible.length - index - 1) * step);
    let y = foot;
    for (let i = 0; i < count; i++) {
      const tall = number(select(second, i)) / top * (foot - 4 * scale);
      context.fillStyle = colours[i % colours.length];
      context.fillRect(left, y - tall, Math.max(right - left, 1), tall);
      y -= tall;
    }
  });
  context.font = `${11 * scale}px system-ui, sans-serif`;
  context.lineWidth = scale;
  for (let value = stepOf(top); value < top; value += stepOf(top)) {
    const y = Math.round(foot - value / top * (foot - 4 * scale)) + 0.5;
    context.strokeStyle = style.getPropertyValue('--line');
    context.beginPath();
    context.moveTo(0, y);
    context.lineTo(width, y);
    context.stroke();
    label(context, style, `${value}`, 3 * scale, y - 3 * scale);
  }
  context.strokeStyle = style.getPropertyValue('--faint');
  context.beginPath();
  context.moveTo(0, foot + 0.5);
  context.lineTo(width, foot + 0.5);
  context.stroke();
  context.fillStyle = style.getPropertyValue('--faint');
  context.textAlign = 'left';
  context.fillText(`${shown / 60} min ago`, 0, height - 3 * scale);
  context.textAlign = 'right';
  context.fillText('now', width, height - 3 * scale);
}

// Text on a ground of its own, so that it can be read over any colour.
function label(context, style, text, x, y) {
  context.textAlign = 'left';
  context.lineJoin = 'round';
  context.save();
  context.lineWidth *= 4;
  context.strokeStyle = style.getPropertyValue('--back');
  context.strokeText(text, x, y);
  context.restore();
  context.fillStyle = style.getPropertyValue('--text');
  context.fillText(text, x, y);
}

function show() {
  if (paused) return;
  showPages();
  showCluster();
  showGraphs();
}

function showGraphs() {
  draw(byId('classes'), CLASSES.length, (second, i) => second.classes[i], CLASS_COLOURS);
  draw(byId('servers'), names.length, (second, i) => second.servers[i], SERVER_COLOURS);
  const row = (colour, name, value) => [{ text: name, colour }, { text: hits(value), number: true }];
  fill(byId('class-rows'), CLASSES.map((name, i) => row(CLASS_COLOURS[i], name, rate((s) => s.classes[i])))
    .filter((cells, i) => i > 1 || cells[1].text !== '0.0'), 2);
  fill(byId('server-rows'), names.map((name, i) => row(SERVER_COLOURS[i % 16], name, rate((s) => s.servers[i]))), 2);
  byId('hits').textContent = hits(rate((second) => second.classes.reduce((a, b) => a + b, 0)));
  byId('bytes').textContent = size(rate((second) => second.bytes));
  const errors = rate((second) => second.classes[5]);
  byId('errors').textContent = `${hits(errors)}/s`;
  byId('errors').classList.toggle('bad', errors > 0);
}

function showPages() {
  fill(byId('page-rows'), pages.map(([page, count]) => [page, { text: count, number: true }]), 2);
}

// Takes what has changed: programs that are new or say something new, and those that are gone.
function takeCluster(changes) {
  daemons = changes.daemons || daemons;
  for (const program of changes.programs) programs.set(program.id, program);
  for (const id of changes.gone || []) programs.delete(id);
}

// What programs say of themselves: those that are known in columns, the others as they say it.
function showCluster() {
  const all = [...programs.keys()].sort().map((id) => programs.get(id));
  const of = (name) => all.filter((one) => one.program === name);
  const nameOf = (one) => {
    const name = one.host || one.name || one.daemon;
    return name === one.daemon ? name : `${name} (${one.daemon})`;
  };
  const lost = (one) => [number(one.gap_bytes) ? size(number(one.gap_bytes)) : '',
    number(one.missed_entries) ? `${number(one.missed_entries)} entries` : ''].filter(Boolean).join(', ');
  fill(byId('bus-rows'), daemons.map((daemon) =>
    [daemon, all.filter((one) => one.daemon === daemon).map((one) => one.program).join(', ')]), 2);
  fill(byId('address-rows'), of('vipd').map((one) => [nameOf(one),
    `${number(one.held)} of ${number(one.sets)}${one.holds ? `: ${one.holds}` : ''}`,
    { text: [one.state, one.sick, number(one.uncovered) ? `nobody holds ${one.uncovered_sets || one.uncovered}` : '']
      .filter(Boolean).join(', '), bad: Boolean(one.sick) || number(one.uncovered) > 0 }]), 3);
  fill(byId('cache-rows'), of('imgcache').map((one) => [nameOf(one),
    { text: one.hit_rate === undefined ? '–' : `${one.hit_rate} %`, number: true },
    { text: number(one.objects), number: true }, { text: size(number(one.used_bytes)), number: true },
    { text: one.isolated ? 'isolated' : 'serves', bad: Boolean(one.isolated) }]), 5);
  fill(byId('logger-rows'), of('spreadlogd').map((one) => [nameOf(one), one.group || '',
    { text: one.open === false ? 'waits for others' : 'logs', bad: one.open === false },
    { text: one.lag === undefined ? '–' : number(one.lag), bad: number(one.lag) > 10000, number: true },
    { text: lost(one) || 'nothing', bad: Boolean(lost(one)) }]), 5);
  const known = ['vipd', 'imgcache', 'spreadlogd'];
  fill(byId('other-rows'), all.filter((one) => !known.includes(one.program)).map(({ program, id, ...rest }) =>
    [program, Object.entries(rest).map(([key, value]) => `${key} ${value}`).join(', ')]), 2);
  const online = of('whosonline').find((one) => one.group === group);
  byId('users').textContent = online ? number(online.users) : '–';
}

function showState(data) {
  const parts = [];
  if (paused) parts.push('paused');
  if (data.joined === false) parts.push('the bus is lost: lines are missing');
  if (data.unparsed) parts.push(`${data.unparsed} lines not parsed`);
  byId('state').classList.toggle('bad', data.joined === false);
  // Said again only when it changes, so that a screen reader does not repeat it each second.
  const text = parts.join(' · ') || 'live';
  if (byId('state').textContent !== text) byId('state').textContent = text;
}

const events = new EventSource('events');
events.addEventListener('history', (event) => {
  const data = JSON.parse(event.data);
  seconds = data.past;
  names = data.names;
  group = data.group;
  pages = data.pages;
  daemons = [];
  programs = new Map();
  takeCluster(data.cluster);
  byId('group').textContent = group;
  document.title = `logmon ${group}`;
  show();
});
events.addEventListener('second', (event) => {
  const data = JSON.parse(event.data);
  seconds.push(data);
  if (seconds.length > KEPT) seconds.shift();
  names = data.names || names;
  pages = data.pages || pages;
  if (data.cluster) takeCluster(data.cluster);
  showState(data);
  show();
});
events.addEventListener('error', () => {
  byId('state').textContent = 'connection lost, trying again';
  byId('state').classList.add('bad');
});
byId('pause').addEventListener('click', () => {
  paused = !paused;
  byId('pause').setAttribute('aria-pressed', String(paused));
  byId('pause').textContent = paused ? 'Go on' : 'Pause';
  show();
});
byId('minutes').addEventListener('change', showGraphs);
window.addEventListener('resize', showGraphs);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', showGraphs);
