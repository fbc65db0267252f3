// What makes the pages more convenient; all of them work without it.
const page = new URL(location.href);

// Links to a route on the page as it was before there were others.
if (page.pathname === '/docs' && (page.hash.startsWith('#/') || page.searchParams.has('open'))) {
  location.replace('/docs/reference' + page.search + page.hash);
}

// Commands name this service.
for (const code of document.querySelectorAll('pre code')) {
  if (code.textContent.includes('https://exportd.example.com')) {
    code.textContent = code.textContent.replaceAll('https://exportd.example.com', location.origin);
  }
}

// The language that was chosen is that of all tabs, and goes along to other pages in their address.
function choose(language) {
  for (const radio of document.querySelectorAll('.tabs input')) {
    if (radio.value === language) radio.checked = true;
  }
  for (const a of document.querySelectorAll('nav a, main a')) {
    const to = new URL(a.href);
    if (to.origin !== location.origin || !/^\/docs(\/[a-z]+)?$/.test(to.pathname)) continue;
    to.searchParams.set('lang', language);
    a.href = to.pathname === location.pathname && to.hash ? to.hash : to.pathname + to.search + to.hash;
  }
}
document.addEventListener('change', (e) => {
  if (!e.target.matches('.tabs input')) return;
  const top = e.target.closest('.tabs').getBoundingClientRect().top;
  page.searchParams.set('lang', e.target.value);
  history.replaceState(null, '', page.pathname + page.search + location.hash);
  choose(e.target.value);
  scrollBy(0, e.target.closest('.tabs').getBoundingClientRect().top - top); // tabs above it may be of another height now
});
const asked = page.searchParams.get('lang');
if (asked) choose(asked);

if (navigator.clipboard) {
  for (const block of document.querySelectorAll('main .code')) {
    const pre = block.querySelector('pre');
    const button = Object.assign(document.createElement('button'), { type: 'button', className: 'copy quiet', textContent: 'Copy' });
    button.addEventListener('click', async () => {
      await navigator.clipboard.writeText(pre.textContent).then(() => (button.textContent = 'Copied'), () => (button.textContent = 'Not allowed'));
      setTimeout(() => (button.textContent = 'Copy'), 2000);
    });
    block.append(button);
  }
}
