// Widgets, questions, predictions and progress of the site. Plain JavaScript: no library, no request but for frames.
'use strict'
const statics = (document.documentElement.dataset.content_root || './') + '_static/'
let ids = 0

function make(tag, attributes = {}, ...inner) {
  const e = document.createElement(tag)
  for (const [k, v] of Object.entries(attributes)) {
    if (k === 'html') e.innerHTML = v                 // only what the builder of the site wrote and escaped
    else if (k.startsWith('on')) e.addEventListener(k.slice(2), v)
    else if (v === true) e.setAttribute(k, '')
    else if (v !== false && v != null) e.setAttribute(k, v)
  }
  e.append(...inner)
  return e
}

// What the reader did, in this browser only

const kept = 'sota_vision'
let memory = { read: {}, quiz: {}, exercise: {}, prediction: {}, seen: {} }
function load() {
  try { memory = { ...memory, ...JSON.parse(localStorage.getItem(kept) || '{}') } } catch { /* private window: kept until it closes */ }
  return memory
}
function save(part, key, value) {
  load()
  if (value === undefined) delete memory[part][key]
  else memory[part][key] = value
  try { localStorage.setItem(kept, JSON.stringify(memory)) } catch { /* as above */ }
}
const today = () => new Date().toISOString().slice(0, 10)

// Numbers in words, as the notebooks write them

const minus = s => s.replace(/-/g, '−')
const round = (x, n = 3) => minus(String(Number(x.toPrecision(n))))
const fixed = (x, n) => minus(x.toFixed(n))

// Charts as SVG, in the colours of the page

const colors = ['var(--sv-blue)', 'var(--sv-orange)', 'var(--sv-green)', 'var(--sv-grey)']
const escaped = s => String(s).replace(/[&<>"]/g, c => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c])

function ticks(low, high, want = 5) {
  const raw = (high - low) / want, power = 10 ** Math.floor(Math.log10(raw))
  const step = power * [1, 2, 2.5, 5, 10].find(m => m * power >= raw)
  const found = []
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) found.push(i * step)
  return found
}

// marks: {line: [[x, y], …]}, {bar: [x, width, height]}, {dot: [x, y]}, {x: …} or {y: …} for a line across; color, dash, label
function chart({ title, xlabel = '', ylabel = '', x, y, names, marks, width = 320, height = 250 }) {
  const ys = ticks(...y).map(t => [t, minus(String(Number(t.toPrecision(3))))])
  const left = 25 + 6 * Math.max(...ys.map(([, s]) => s.length)), right = 8, top = 26, bottom = names || xlabel ? 42 : 16
  const px = v => left + (v - x[0]) / (x[1] - x[0]) * (width - left - right)
  const py = v => height - bottom - (Math.min(y[1], Math.max(y[0], v)) - y[0]) / (y[1] - y[0]) * (height - top - bottom)
  const out = [], text = (tx, ty, s, more = '') => out.push(`<text x="${tx.toFixed(1)}" y="${ty.toFixed(1)}" ${more}>${escaped(s)}</text>`)
  for (const [t, s] of ys) {
    out.push(`<path class="sv-grid" d="M${left} ${py(t)}H${width - right}"/>`)
    text(left - 4, py(t) + 3.5, s, 'text-anchor="end"')
  }
  const xs = names ? names.map((s, i) => [i, s]) : ticks(...x, 6).map(t => [t, minus(String(Number(t.toPrecision(3))))])
  for (const [at, s] of xs) text(px(at), height - bottom + 13, s, 'text-anchor="middle"')
  text((left + width - right) / 2, height - bottom + 28, xlabel, 'text-anchor="middle"')
  text(0, 0, ylabel, `text-anchor="middle" transform="translate(11 ${(top + height - bottom) / 2}) rotate(-90)"`)
  text(width / 2, 14, title, 'text-anchor="middle" class="sv-title"')
  out.push(`<path class="sv-axis" d="M${left} ${top}V${height - bottom}H${width - right}"/>`)
  const legend = []
  for (const m of marks) {
    const c = colors[m.color || 0], style = `stroke="${c}" ${m.dash ? `stroke-dasharray="${m.dash}"` : ''}`
    if (m.line) out.push(`<path class="sv-line" ${style} d="M${m.line.map(([a, b]) => `${px(a).toFixed(1)} ${py(b).toFixed(1)}`).join('L')}"/>`)
    if (m.bar) {
      const [at, wide, high] = m.bar, [a, b] = [py(Math.max(0, high)), py(Math.min(0, high))]
      out.push(`<rect fill="${c}" x="${px(at - wide / 2).toFixed(1)}" width="${(px(at + wide / 2) - px(at - wide / 2)).toFixed(1)}" y="${a.toFixed(1)}" height="${Math.max(.5, b - a).toFixed(1)}"/>`)
      if (m.says) text(px(at), a - 4, m.says, 'text-anchor="middle"')
    }
    if (m.dot) out.push(`<circle fill="${c}" cx="${px(m.dot[0])}" cy="${py(m.dot[1])}" r="${m.r || 5}"/>`)
    if (m.x !== undefined) out.push(`<path class="sv-line" ${style} d="M${px(m.x)} ${top}V${height - bottom}"/>`)
    if (m.y !== undefined) out.push(`<path class="sv-line" ${style} d="M${left} ${py(m.y)}H${width - right}"/>`)
    if (m.label) legend.push([c, m.label])
  }
  legend.forEach(([c, s], i) => {
    out.push(`<rect fill="${c}" x="${width - right - 12}" y="${top + 4 + 15 * i}" width="9" height="9"/>`)
    text(width - right - 17, top + 12 + 15 * i, s, 'text-anchor="end"')
  })
  const says = [title, ...legend.map(o => o[1])].join('; ')
  return { svg: `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${escaped(says)}">${out.join('')}</svg>`, says }
}

function charts(box, ...parts) {
  const made = parts.map(chart)
  box.innerHTML = made.map(o => o.svg).join('')
  return made.map(o => o.says).join('. ')
}

// Arithmetic that is small enough for the page. A function (box, values, data) that draws and returns the words of its picture

const softmax = z => {
  const top = Math.max(...z), e = z.map(v => Math.exp(v - top)), sum = e.reduce((a, b) => a + b)
  return e.map(v => v / sum)
}
const span = (low, high, n) => Array.from({ length: n }, (_, i) => low + (high - low) * i / (n - 1))

const models = {
  plot_one_cycle(box, { epochs, lr, pct_start, div }) {
    const wave = (a, b, t) => a + (b - a) * (1 - Math.cos(Math.PI * t)) / 2
    const curve = (a, b, c) => span(0, 1, 201).map(t => [t * epochs,
      t < pct_start ? wave(a, b, t / pct_start) : wave(b, c, (t - pct_start) / (1 - pct_start))])
    const panel = (title, ylabel, line, y, color) => ({ title, ylabel, xlabel: 'epochs', x: [0, epochs], y, width: 400,
      marks: [{ line, color }, { x: pct_start * epochs, color: 3, dash: '2 3' }] })
    return charts(box, panel(`Rate: from ${round(lr / div, 2)} up to ${round(lr, 2)}, then to almost 0`, 'learning rate', curve(lr / div, lr, lr / 1e5), [0, lr * 1.05], 0),
      panel('Momentum: low while steps are large', 'momentum', curve(.95, .85, .95), [.845, .955], 1))
  },

  plot_label_smoothing(box, { eps, n, margin }) {
    const right = e => 1 - e + e / n, best = eps ? Math.log(right(eps) / (eps / n)) : Infinity
    const p = m => 1 / (1 + (n - 1) * Math.exp(-m)), logsum = m => m > 0 ? m + Math.log1p((n - 1) * Math.exp(-m)) : Math.log(Math.exp(m) + n - 1)
    const loss = (m, e) => logsum(m) - right(e) * m, grad = (m, e) => p(m) - right(e)
    const xs = span(-2, Math.max(12, margin + 1, eps ? best + 2 : 0), 150), x = [xs[0], xs[149]]
    const both = f => [{ line: xs.map(m => [m, f(m, 0)]), color: 3, dash: '5 3', label: 'ε = 0' }, { line: xs.map(m => [m, f(m, eps)]), color: 0, label: `ε = ${eps}` }]
    const here = f => ({ dot: [margin, f(margin, eps)], color: 1, label: `here ${fixed(f(margin, eps), 2)}` })
    const bars = (off, ps, color, label) => ps.map((v, i) => ({ bar: [i + off, .36, v], says: round(v, 2), color, label: i ? null : label }))
    const most = Math.max(...xs.map(m => Math.max(loss(m, 0), loss(m, eps))))
    return charts(box,
      { title: `margin ${minus(String(margin))}: ${margin > best ? 'over' : 'under'}confident`, ylabel: 'probability', names: ['right class', `each of ${n - 1} other${n > 2 ? 's' : ''}`],
        x: [-.5, 1.5], y: [0, 1.4], marks: [...bars(-.2, [right(eps), eps / n], 0, 'target'), ...bars(.2, [p(margin), (1 - p(margin)) / (n - 1)], 1, 'prediction')] },
      { title: 'loss of one picture', xlabel: 'margin of the right logit', ylabel: 'loss (nats)', x, y: [0, most * 1.3],
        marks: [...both(loss), ...(eps ? [{ x: best, color: 3, dash: '2 3', label: `optimal margin ${best.toFixed(2)}` }] : []), here(loss)] },
      { title: 'gradient at the right logit', xlabel: 'margin of the right logit', ylabel: 'd loss / d logit', x, y: [-1.08, .6], marks: [{ y: 0, color: 3 }, ...both(grad), here(grad)] })
  },

  explore_cross_entropy(box, { target, ...logits }) {
    const z = Object.values(logits), p = softmax(z), t = Number(target), names = z.map((_, i) => String(i)), x = [-.6, z.length - .4]
    const bars = v => v.map((h, i) => ({ bar: [i, .8, h], color: i === t ? 1 : 0, label: i === t ? 'right class' : null }))
    const top = Math.max(1, ...z) * 1.25, low = Math.min(0, ...z) * 1.1
    return charts(box, { title: `logits (right class: ${t})`, xlabel: 'class', ylabel: 'logit', names, x, y: [low, top], marks: [...bars(z), { y: 0, color: 3 }] },
      { title: `softmax; loss ${fixed(-Math.log(p[t]), 2)}`, xlabel: 'class', ylabel: 'probability', names, x, y: [0, 1.2], marks: bars(p) },
      { title: 'gradient: softmax − target', xlabel: 'class', ylabel: 'd loss / d logit', names, x, y: [-1.1, 1.4],
        marks: [...bars(p.map((v, i) => v - (i === t))), { y: 0, color: 3 }, { y: -1, color: 3, dash: '2 3' }, { y: 1, color: 3, dash: '2 3' }] })
  },

  explore_mixup(box, { a, b, t }, { pictures }) {
    if (a === b) throw new Error(`both pictures are of the class ${a}: choose two classes`)
    const src = name => `${statics}frames/${pictures[name]}`, w = round(t, 2), v = round(1 - t, 2), says = `${w} × ${a} + ${v} × ${b}`
    const shown = (inner, caption, alt) => `<figure><div role="img" aria-label="${escaped(alt)}">${inner}</div><figcaption>${escaped(caption)}</figcaption></figure>`
    const picture = name => shown(`<img src="${src(name)}" alt="">`, name, name)
    const target = chart({ title: 'target of the blend', ylabel: 'target', names: [a, b], x: [-.6, 1.6], y: [0, 1.15], width: 240, height: 190,
      marks: [{ bar: [0, .8, t], says: w }, { bar: [1, .8, 1 - t], says: v, color: 1 }] })
    box.innerHTML = picture(a) + picture(b) + shown(`<img src="${src(b)}" alt=""><img src="${src(a)}" alt="" style="opacity:${t}">`, says, says) + target.svg
    return `the blend is ${says}`
  },

  explore_sizes(box, { first, size1, second, size2 }, { sizes, costs, picture }) {
    if (size2 < size1) throw new Error(`the schedule falls from ${size1} to ${size2} pixels: put the smaller size first`)
    const epochs = [...Array(first).fill(size1), ...Array(second).fill(size2)]
    function at(size, values) {     // between the sizes that were measured, in proportion to the pixels
      const i = Math.max(1, sizes.findIndex(s => s >= size)), [s, e] = [sizes[i - 1] ** 2, sizes[i] ** 2]
      return values[i - 1] + (size ** 2 - s) / (e - s) * (values[i] - values[i - 1])
    }
    const share = v => epochs.reduce((sum, s) => sum + at(s, v), 0) / epochs.length / at(size2, v)
    const cost = Object.entries(costs).map(([k, v]) => `${Math.round(100 * share(v))} % ${k.replace(/_/g, '-')}`).join(', ')
    const schedule = chart({ title: `takes ${cost}`, xlabel: 'epoch', ylabel: 'side (pixels)', x: [.4, epochs.length + .6], y: [0, size2 * 1.1], width: 330, height: 200,
      marks: [...epochs.map((s, i) => ({ bar: [i + 1, .96, s] })), { y: size2, color: 1, dash: '5 3' }] })
    const stage = (n, size) => `<figure><canvas width="${size}" height="${size}" role="img" aria-label="the picture at ${size} pixels"></canvas><figcaption>${n} epoch${n > 1 ? 's' : ''} at ${size} px</figcaption></figure>`
    box.innerHTML = stage(first, size1) + stage(second, size2) + schedule.svg
    const image = new Image()
    image.onload = () => box.querySelectorAll('canvas').forEach(c => {
      const pen = c.getContext('2d')
      pen.imageSmoothingQuality = 'high'
      pen.drawImage(image, 0, 0, c.width, c.height)
    })
    image.src = `${statics}frames/${picture}`
    return `${first} at ${size1} px, ${second} at ${size2} px: ${schedule.says}`
  }
}

// A widget: native controls above a picture; frames are fetched when somebody touches a control

const waiting = {}
window.svFrames = (id, told) => { waiting[id](told) }

function fetchFrames(id) {
  return new Promise((resolve, reject) => {
    waiting[id] = resolve
    document.head.append(make('script', { src: `${statics}frames/${id}.js`, onerror: () => reject(new Error('the pictures of this widget could not be loaded')) }))
  })
}

// On a narrow screen a wide picture is too small to read: shown at its own size it scrolls

function magnifiable(img) {
  const frame = make('div', { class: 'sv-small' }), button = make('button', { type: 'button', class: 'sv-magnify', onclick: toggle }, 'Magnify')
  function toggle() {
    const large = frame.className === 'sv-small'
    frame.className = large ? 'sv-large' : 'sv-small'
    button.textContent = large ? 'Fit the screen' : 'Magnify'
    if (large) frame.tabIndex = 0           // what scrolls sideways must be reachable by keyboard
    else frame.removeAttribute('tabindex')
  }
  img.replaceWith(frame, button)
  frame.append(img)
  img.addEventListener('click', () => { if (button.offsetParent) toggle() })
}

function control(c, id, change) {
  const name = `${id}-${c.name}`
  if (c.kind === 'pick') {
    const options = c.shown.map((s, i) => make('option', { value: i, selected: i === c.start }, s))
    const field = make('select', { id: name, onchange: change }, ...options)
    return [field, make('label', { class: 'sv-control', for: name }, make('span', {}, c.label), field)]
  }
  const says = make('output', { for: name }, c.shown[c.start])
  const field = make('input', { id: name, type: 'range', min: 0, max: c.shown.length - 1, step: 1, value: c.start, 'aria-valuetext': c.shown[c.start] })
  field.addEventListener('input', () => {
    says.textContent = c.shown[field.value]
    field.setAttribute('aria-valuetext', c.shown[field.value])
    change()
  })
  return [field, make('label', { class: 'sv-control', for: name }, make('span', {}, c.label), field, says)]
}

function widget(box, told) {
  const frozen = box.closest('.cell_output, .output')?.parentElement.querySelector('img')
  const id = `sv${ids++}-${told.id}`, error = make('p', { class: 'sv-error', role: 'alert' }), words = make('p', { class: 'sv-hidden', 'aria-live': 'polite' })
  const screen = make('div', { class: 'sv-screen' }), fields = []
  let frames
  const at = () => fields.map(f => Number(f.value))
  function fail(e) { error.textContent = e.message; screen.hidden = true }
  function done(text, announce) {
    error.textContent = ''
    screen.hidden = false
    if (announce) words.textContent = text
  }
  function compute(announce) {
    const values = {}
    told.controls.forEach((c, i) => { values[c.name] = c.values[at()[i]] })
    try { done(models[told.model](screen, values, told.data), announce) } catch (e) { fail(e) }
  }
  async function show() {
    try { frames ||= fetchFrames(told.id) ; frames = await frames } catch (e) { frames = undefined; return fail(e) }
    const n = told.controls.reduce((sum, c, i) => sum * c.shown.length + at()[i], 0)
    const [image, text] = frames.frames[n]
    if (frames.images[image] === null) return fail(new Error(frames.words[text]))
    const img = screen.querySelector('img')
    img.src = `${statics}frames/${frames.images[image]}`
    img.alt = frames.words[text]
    done(frames.words[text], true)
  }
  const change = () => told.model ? compute(true) : show()
  const controls = told.controls.map(c => control(c, id, change))
  fields.push(...controls.map(c => c[0]))
  box.replaceChildren(make('div', { class: 'sv-controls' }, ...controls.map(c => c[1])), error, screen, words)
  if (told.model) { compute(false); frozen?.remove() }
  else {
    const first = make('img', { src: `${statics}frames/${told.first.image}`, alt: told.first.words, width: told.first.width, height: told.first.height })
    frozen?.remove()
    screen.append(first)
    magnifiable(first)
  }
}

// Questions

function readNumber(text, unit) {
  const s = text.replace(/[−–]/g, '-').trim().toLowerCase()
  const parts = s.match(/^([+-]?)\s*([\d.,]+(?:e[+-]?\d+)?)(?:\s*\/\s*([\d.,]+))?\s*(%|×|\p{L}+)?$/u)
  if (!parts) return NaN
  const [, sign, number, of, word] = parts
  const x = Number(sign + number.replaceAll(',', '.')) / Number((of || '1').replaceAll(',', '.'))
  if (unit === '%') return of && !word ? 100 * x : x
  return word === '%' ? x / 100 : x
}

function quiz(box, told) {
  const id = `sv${ids++}`, feedback = make('div', { class: 'sv-feedback', role: 'status' }), was = load().quiz[told.key]
  const keep = right => { save('quiz', told.key, { right, when: today() }); state() }
  const mark = make('span', { class: 'sv-state' })
  function state() {
    const now = load().quiz[told.key]
    mark.textContent = !now ? '' : now.right === null ? 'answered' : now.right ? 'answered: right' : 'answered: not yet right'
  }
  let field, check, labels = ['Check', 'Show the answer']
  if (told.kind === 'choice') {
    field = make('div', {}, ...told.options.map(([o], i) => make('label', { class: 'sv-option' }, make('input', { type: 'radio', name: id, value: i }), make('span', { html: o }))))
    check = () => {
      const i = field.querySelector('input:checked')?.value
      if (i === undefined) return 'Choose one of the options first.'
      keep(told.options[i][2])
      return (told.options[i][2] ? 'Right. ' : 'No. ') + told.options[i][1]
    }
  } else if (told.kind === 'amount') {
    const input = make('input', { type: 'text', inputmode: 'text', id, size: 12, autocomplete: 'off' })
    field = make('label', { for: id }, `Your answer${told.unit ? ` (${told.unit})` : ''}: `, input)
    check = () => {
      const x = readNumber(input.value, told.unit)
      if (!Number.isFinite(x)) return `${escaped(input.value.trim()) || 'An empty field'} is not a number: write one such as 0.5, 1/3 or 20 %.`
      const near = Math.max(told.tol, told.rel * Math.abs(told.value), 1e-9 * Math.max(1, Math.abs(told.value)))
      const right = Math.abs(x - told.value) <= near
      keep(right)
      return right ? `Right. ${told.answer}` : `No. ${round(x, 6)} is too ${x > told.value ? 'high' : 'low'}: think again, or have the answer shown.`
    }
  } else {
    labels = ['Compare', 'Show a model answer']
    const area = make('textarea', { id, rows: 3 })
    field = make('label', { for: id, class: 'sv-words' }, 'Your answer, in your own words:', area)
    check = () => {
      if (!area.value.trim()) return 'Write a sentence first; then compare.'
      keep(null)
      return `Compare with this. ${told.answer}`
    }
  }
  const button = (label, say) => make('button', { type: 'button', onclick: () => { feedback.innerHTML = say() } }, label)
  box.replaceChildren(make('fieldset', {}, make('legend', { html: told.question }), field,
    make('div', { class: 'sv-buttons' }, button(labels[0], check), button(labels[1], () => told.answer), mark), feedback))
  state()
}

// Predictions: an interval that holds the result four times in five, or a choice

const within = (r) => r.choice !== undefined ? r.choice === r.result : r.low <= r.result && r.result <= r.high
const unit = r => r.unit ? ` ${r.unit}` : ''
const inWords = r => r.choice !== undefined ? r.choice : `between ${round(r.low)} and ${round(r.high)}${unit(r)} (80 % sure)`
const late = r => r.late ? ' You committed after the result was shown: it will not be counted.' : ''

function prediction(box, told) {
  const id = `sv${ids++}`, feedback = make('div', { class: 'sv-feedback', role: 'status' })
  let field, read
  if (told.options) {
    field = make('div', {}, ...told.options.map(o => make('label', { class: 'sv-option' }, make('input', { type: 'radio', name: id, value: o }), make('span', {}, o))))
    read = () => {
      const choice = field.querySelector('input:checked')?.value
      return choice === undefined ? `choose one of: ${told.options.join(', ')}` : { choice }
    }
  } else {
    const number = (which, label) => make('input', { type: 'number', step: 'any', min: told.low, max: told.high, 'aria-label': `${label} (${told.unit || 'number'})` })
    const [low, high] = [number('low', 'from'), number('high', 'to')]
    field = make('div', {}, `From ${told.unit ? `(${told.unit}) ` : ''}`, low, ' to ', high, ', 80 % sure')
    read = () => {
      const ends = [low.value, high.value].map(v => v === '' ? NaN : Number(v))
      if (!ends.every(Number.isFinite)) return 'give two numbers: the ends of an interval that you are 80 % sure of'
      if (ends[0] > ends[1]) return `from ${ends[0]} to ${ends[1]} is not an interval: give the lower end first`
      return { low: ends[0], high: ends[1] }
    }
  }
  const button = make('button', { type: 'button', onclick: commit }, 'Commit')
  function commit() {
    const given = read()
    if (typeof given === 'string') { feedback.textContent = `Not committed: ${given}.`; return }
    const record = { question: told.plain, unit: told.unit, when: today(), late: Boolean(load().seen[told.key]), ...given }
    save('prediction', told.key, record)
    lock(record, 'Committed: ')
    document.dispatchEvent(new CustomEvent('sv-committed', { detail: told.key }))
  }
  function lock(record, before) {
    for (const e of [button, ...field.querySelectorAll('input')]) e.disabled = true
    feedback.textContent = `${before}${inWords(record)}.${late(record)}`
  }
  box.replaceChildren(make('fieldset', {}, make('legend', { html: told.question }), field, make('div', { class: 'sv-buttons' }, button), feedback))
  const was = load().prediction[told.key]
  if (was) lock(was, 'Your prediction: ')
}

function outcome(box, told) {
  const says = make('p'), fold = make('details', {}, make('summary', {}, 'The result'), says)
  function fill() {
    const was = load().prediction[told.key]
    let text = `The result: ${told.shown}.`
    if (was) {
      const record = { ...was, result: was.choice !== undefined ? told.shown : told.result }
      if (was.result === undefined) save('prediction', told.key, record)
      let off = within(record) ? 'Hit.' : 'Missed.'
      if (was.choice === undefined) off = within(record) ? `Hit: it lies in your interval, ${round(Math.abs(record.result - (record.low + record.high) / 2))}${unit(record)} from the middle.`
        : `Missed: it lies ${record.result < record.low ? `${round(record.low - record.result)}${unit(record)} below` : `${round(record.result - record.high)}${unit(record)} above`} your interval.`
      text = `Your prediction: ${inWords(was)}. ${text} ${off}${late(was)}`
      fold.open = true
    }
    says.textContent = text
  }
  fold.addEventListener('toggle', () => { if (fold.open && !load().prediction[told.key]) save('seen', told.key, true) })
  document.addEventListener('sv-committed', e => { if (e.detail === told.key) fill() })
  box.replaceChildren(fold)
  fill()
}

function exercise(box, told) {
  const tick = make('input', { type: 'checkbox', onchange: () => save('exercise', told.key, tick.checked ? today() : undefined) })
  tick.checked = told.key in load().exercise
  box.replaceChildren(make('label', { class: 'sv-option' }, tick, make('span', {}, 'I solved this exercise, and its check passed')))
}

// Progress

function wilson(hits, n, z = 1.96) {
  const p = hits / n, mid = (p + z * z / (2 * n)) / (1 + z * z / n), half = z * Math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
  return [mid - half, mid + half].map(v => `${Math.round(100 * v)} %`)
}

function calibration(records) {
  const counted = records.filter(r => r.result !== undefined && !r.late)
  const intervals = counted.filter(r => r.choice === undefined), choices = counted.filter(r => r.choice !== undefined)
  const hits = intervals.filter(within).length, says = []
  if (intervals.length) says.push(`${hits} of ${intervals.length} intervals that you were 80 % sure of contain the result (95 % interval of that share: ${wilson(hits, intervals.length).join(' to ')}).`)
  if (choices.length) says.push(`${choices.filter(within).length} of ${choices.length} choices came true.`)
  return says.join(' ') || 'None of your predictions has met its result yet: open the results in the lessons.'
}

function progress(box, told) {
  function download() {
    const link = make('a', { href: URL.createObjectURL(new Blob([JSON.stringify(load(), null, 1)], { type: 'application/json' })), download: 'sota_vision_progress.json' })
    link.click()
    setTimeout(() => URL.revokeObjectURL(link.href), 1000)
  }
  function clear() {
    if (!confirm('Forget everything that this browser keeps of your progress?')) return
    try { localStorage.removeItem(kept) } catch { /* nothing was kept */ }
    memory = { read: {}, quiz: {}, exercise: {}, prediction: {}, seen: {} }
    fill()
  }
  function fill() {
    const now = load(), count = (keys, there) => keys.length ? `${keys.filter(k => k in there).length} of ${keys.length}` : '–'
    const right = keys => keys.length ? `${keys.filter(k => k in now.quiz).length} of ${keys.length}` : '–'
    const rows = told.lessons.map(l => {
      const tick = make('input', { type: 'checkbox', 'aria-label': `read: ${l.title}`, onchange: () => save('read', l.page, tick.checked ? today() : undefined) })
      tick.checked = l.page in now.read
      return make('tr', {}, make('td', {}, make('a', { href: `${l.page}.html` }, l.title)), make('td', {}, tick),
        make('td', {}, right(l.questions)), make('td', {}, count(l.exercises, now.exercise)), make('td', {}, count(l.predictions, now.prediction)))
    })
    const head = make('thead', {}, make('tr', {}, ...['lesson', 'read', 'answered', 'passed', 'predicted'].map(s => make('th', { scope: 'col' }, s))))
    const records = Object.values(now.prediction)
    const list = records.map(r => make('li', {}, `${r.question} You: ${inWords(r)}.${r.result === undefined ? '' : ` Result: ${typeof r.result === 'number' ? round(r.result) + unit(r) : r.result}. ${within(r) ? 'Hit.' : 'Missed.'}`}${late(r)}`))
    box.replaceChildren(make('div', { class: 'sv-table', tabindex: 0, role: 'region', 'aria-label': 'progress in each lesson' }, make('table', {}, head, make('tbody', {}, ...rows))),
      make('h2', {}, 'Your predictions'), make('p', { class: 'sv-calibration' }, records.length ? calibration(records) : 'You have not made any yet.'), make('ul', {}, ...list),
      make('div', { class: 'sv-buttons' }, make('button', { type: 'button', onclick: download }, 'Export as a file'), make('button', { type: 'button', onclick: clear }, 'Clear')))
  }
  fill()
}

// A lesson counts as read when its end was in sight

function watchEnd() {
  const end = document.querySelector('.prev-next-area') || document.querySelector('footer')
  const lesson = decodeURI(location.pathname).match(/((?:bonus\/)?[^/]+)\.html$/)
  if (!end || !lesson || !/^(\d\d_|bonus\/)/.test(lesson[1]) || /\/(api|solutions)\//.test(location.pathname)) return
  new IntersectionObserver((seen, watcher) => {
    if (!seen.some(o => o.isIntersecting) || lesson[1] in load().read || scrollY < 200) return
    save('read', lesson[1], today())
    watcher.disconnect()
  }).observe(end)
}

for (const [name, bring] of Object.entries({ widget, quiz, prediction, outcome, exercise, progress }))
  document.querySelectorAll(`.sv-${name}[data-sv]`).forEach(box => bring(box, JSON.parse(box.dataset.sv)))
document.querySelectorAll('.bd-article .cell_output > img, .bd-article p > img').forEach(magnifiable)
// The theme's own labels say less than the words that are there
document.querySelectorAll('summary[aria-label], .search-button-field[aria-label]').forEach(e => e.removeAttribute('aria-label'))
document.querySelectorAll('.bd-article .pst-scrollable-table-container, .bd-article div.highlight pre, .bd-article .output, .cell_output, math').forEach(e => {
  if (e.scrollWidth > e.clientWidth) e.tabIndex = 0       // what scrolls sideways must be reachable by keyboard
})
watchEnd()
