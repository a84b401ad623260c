// Asks for the state as JSON, and changes what is on the page. Which value is where, and of which kind, the page says itself.
'use strict';

(() => {
  const PERIOD_MS = 2000;
  const NONE = '–';

  const scale = (bytes) => {
    if (bytes < 1024) return `${bytes} B`;
    const units = ['KiB', 'MiB', 'GiB', 'TiB'];
    let [scaled, unit] = [bytes / 1024, 0];
    while (scaled >= 1024 && unit < units.length - 1) [scaled, unit] = [scaled / 1024, unit + 1];
    return `${(Math.floor(scaled * 10 + 0.5) / 10).toFixed(1)} ${units[unit]}`;
  };
  const duration = (seconds) => {
    if (seconds < 10) return `${(Math.floor(Math.max(seconds, 0) * 10) / 10).toFixed(1)} s`;
    const whole = Math.floor(seconds);
    const part = (length, of) => Math.floor(whole / length) % of;
    if (whole < 60) return `${whole} s`;
    if (whole < 3600) return `${part(60, 60)} min ${whole % 60} s`;
    if (whole < 86400) return `${part(3600, 24)} h ${part(60, 60)} min`;
    return `${Math.floor(whole / 86400)} d ${part(3600, 24)} h`;
  };
  const moment = (ms) => {
    const date = new Date(ms);
    const year = date.getUTCFullYear();
    if (!(year >= 0 && year <= 9999)) return ms < 0 ? 'the beginning' : 'the end';
    return date.toISOString().slice(0, 19).replace('T', ' ');
  };
  const kinds = {
    text: String,
    word: String,
    code: String,
    count: (number) => String(number).replace(/\B(?=(\d{3})+$)/g, ','),
    bytes: scale,
    seconds: duration,
    time: moment,
    part: (bytes, column, row) => `${scale(bytes)} of ${scale(row[column.of])}`,
    flag: (isSet, column) => (isSet ? column.word : NONE),
  };
  const write = (value, column, row) =>
    value === null || value === undefined || value === '' || value === '{}'
      ? NONE
      : kinds[column.kind](value, column, row);

  // Text that stays is left alone, so that it can be selected.
  const setText = (element, text) => {
    if (element.textContent !== text) element.textContent = text;
  };
  const find = (state, key) => key.split('.').reduce((value, part) => value?.[part], state);

  const cell = (column, isFirst) => {
    const element = document.createElement(isFirst ? 'th' : 'td');
    element.setAttribute('role', isFirst ? 'rowheader' : 'cell');
    if (isFirst) element.scope = 'row';
    element.className = column.kind;
    element.dataset.head = column.head;
    element.append(document.createElement('span'));
    if (column.kind === 'part') {
      const bar = document.createElement('progress');
      bar.setAttribute('aria-hidden', 'true');
      element.append(bar);
    }
    return element;
  };
  const showRows = (table, rows) => {
    const heads = [...table.tHead.rows[0].cells];
    const columns = heads.map((head) => ({ ...head.dataset, head: head.textContent }));
    const body = table.tBodies[0];
    while (body.rows.length > rows.length) body.deleteRow(-1);
    rows.forEach((row, place) => {
      let line = body.rows[place];
      if (!line) {
        line = body.insertRow();
        line.setAttribute('role', 'row');
        line.append(...columns.map((column, index) => cell(column, index === 0)));
      }
      columns.forEach((column, index) => {
        const value = row[column.key];
        const text = write(value, column, row);
        const { firstElementChild, lastElementChild: bar, classList } = line.cells[index];
        setText(firstElementChild, text);
        classList.toggle('none', text === NONE);
        if (column.kind === 'part') {
          [bar.max, bar.value] = [Math.max(row[column.of], 1), value];
        }
      });
      line.classList.toggle('flagged', columns.some((column) => column.kind === 'flag' && row[column.key]));
    });
  };
  const show = (state) => {
    for (const element of document.querySelectorAll('[data-key]:not(th)')) {
      setText(element, write(find(state, element.dataset.key), element.dataset, state));
    }
    for (const element of document.querySelectorAll('[data-show]')) {
      element.hidden = !find(state, element.dataset.show);
    }
    for (const table of document.querySelectorAll('[data-rows]')) showRows(table, state[table.dataset.rows]);
    for (const element of document.querySelectorAll('[data-empty]')) {
      element.hidden = state[element.dataset.empty].length > 0;
    }
    for (const element of document.querySelectorAll('[data-omitted]')) {
      const omitted = state.omitted[element.dataset.omitted];
      element.hidden = !omitted;
      if (omitted) setText(element, `${kinds.count(omitted)} more are not shown.`);
    }
  };

  const pause = document.getElementById('pause');
  const connection = document.getElementById('connection');
  let isPaused = false;
  const ask = async () => {
    const response = await fetch('api/v1/status/gateway', { signal: AbortSignal.timeout(10000) });
    if (!response.ok) throw new Error(`the gateway answers ${response.status}`);
    return response.json();
  };
  const update = async () => {
    if (!isPaused && !document.hidden) {
      try {
        show(await ask());
        document.body.classList.remove('stale');
        setText(connection, '');
      } catch (error) {
        // What is shown is of before.
        document.body.classList.add('stale');
        setText(connection, `The gateway cannot be asked: ${error.message}`);
      }
    }
    setTimeout(update, PERIOD_MS);
  };
  pause.hidden = false;
  pause.addEventListener('click', () => {
    isPaused = !isPaused;
    pause.textContent = isPaused ? 'Go on' : 'Pause';
  });
  setTimeout(update, PERIOD_MS);
})();
