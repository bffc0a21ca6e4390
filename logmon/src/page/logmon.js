// Draws what the events say. Names in them come from strangers: they reach the page as text only.
'use strict';

const KEPT = 600;
const CLASSES = ['other', '1xx', '2xx', '3xx', '4xx', '5xx'];
const CLASS_COLOURS = ['#888888', '#6699cc', '#3a9d5d', '#4477aa', '#dd9933', '#cc3344'];
const SERVER_COLOURS = ['#4477aa', '#dd9933', '#3a9d5d', '#cc3344', '#8866bb', '#338899', '#bb7755', '#aa5599',
  '#777777', '#99aa33', '#5566cc', '#cc7799', '#55aa99', '#996633', '#7799bb', '#999999'];
const byId = (id) => document.getElementById(id);

let seconds = [];
let names = [];

function rate(select) {
  const last = seconds.slice(-10);
  return last.length ? last.reduce((sum, second) => sum + (select(second) || 0), 0) / last.length : 0;
}

// Rows of a table: cells of text, and a colour for the first where there is one.
function fill(body, rows) {
  body.replaceChildren(...rows.map(([colour, ...cells]) => {
    const row = document.createElement('tr');
    cells.forEach((text, index) => {
      const cell = row.appendChild(document.createElement('td'));
      if (index === 0 && colour) {
        const swatch = cell.appendChild(document.createElement('span'));
        swatch.className = 'swatch';
        swatch.style.background = colour;
      }
      cell.append(String(text));
    });
    return row;
  }));
}

// A stacked graph of the seconds that are kept, the newest at the right.
function draw(canvas, count, select, colours) {
  const scale = window.devicePixelRatio || 1;
  const width = canvas.width = canvas.clientWidth * scale;
  const height = canvas.height = canvas.clientHeight * scale;
  const context = canvas.getContext('2d');
  const sum = (second) => { let all = 0; for (let i = 0; i < count; i++) all += select(second, i) || 0; return all; };
  const top = Math.max(1, ...seconds.map(sum));
  const step = width / KEPT;
  seconds.forEach((second, index) => {
    const x = width - (seconds.length - index) * step;
    let y = height;
    for (let i = 0; i < count; i++) {
      const tall = (select(second, i) || 0) / top * (height - 14 * scale);
      context.fillStyle = colours[i % colours.length];
      context.fillRect(x, y - tall, Math.max(step, 1), tall);
      y -= tall;
    }
  });
  context.fillStyle = getComputedStyle(document.body).color;
  context.font = `${11 * scale}px sans-serif`;
  context.fillText(`${top}/s`, 2 * scale, 11 * scale);
}

function show() {
  draw(byId('classes'), 6, (second, i) => second.classes[i], CLASS_COLOURS);
  draw(byId('servers'), names.length, (second, i) => second.servers[i], SERVER_COLOURS);
  fill(byId('class-rows'), CLASSES.map((name, i) => [CLASS_COLOURS[i], name, rate((s) => s.classes[i]).toFixed(1)])
    .filter((row, i) => i > 1 || row[2] !== '0.0'));
  fill(byId('server-rows'), names.map((name, i) => [SERVER_COLOURS[i % 16], name, rate((s) => s.servers[i]).toFixed(1)]));
}

function showPages(pages) {
  if (pages) fill(byId('page-rows'), pages.map(([page, hits]) => [null, page, hits]));
}

function showPrograms(programs) {
  fill(byId('program-rows'), programs.map(({ program, ...rest }) =>
    [null, program, Object.entries(rest).map(([key, value]) => `${key} ${value}`).join(', ')]));
}

function showState(data) {
  const hits = rate((second) => second.classes.reduce((a, b) => a + b, 0));
  const bytes = rate((second) => second.bytes);
  const online = (data.cluster || []).find((status) => status.program === 'whosonline');
  const parts = [`${hits.toFixed(1)} hits/s`, `${(bytes / 1e6).toFixed(2)} MB/s`];
  if (online) parts.push(`${online.users} users online`);
  if (data.unparsed) parts.push(`${data.unparsed} lines not parsed`);
  if (data.joined === false) parts.push('the bus is lost');
  byId('state').textContent = parts.join(' · ');
}

const events = new EventSource('events');
events.addEventListener('history', (event) => {
  const data = JSON.parse(event.data);
  seconds = data.past;
  names = data.names;
  showPages(data.pages);
  show();
});
events.addEventListener('second', (event) => {
  const data = JSON.parse(event.data);
  seconds.push(data);
  if (seconds.length > KEPT) seconds.shift();
  names = data.names;
  showPages(data.pages);
  showPrograms(data.cluster);
  showState(data);
  show();
});
events.addEventListener('error', () => { byId('state').textContent = 'connection lost, trying again'; });
window.addEventListener('resize', show);
