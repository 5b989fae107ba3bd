// One page of Chromium, driven from Python: a JSON command on each line of standard input, a JSON answer on each
// line of standard output. Arguments: Chromium's path, a new folder for its profile.
import readline from 'node:readline';
import puppeteer from 'puppeteer-core';

const [chromium, profile] = process.argv.slice(2);
const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--use-gl=angle', '--use-angle=swiftshader',
  '--enable-unsafe-swiftshader', '--disable-dev-shm-usage', '--no-proxy-server',
];

const browser = await puppeteer.launch({
  executablePath: chromium,
  headless: true,
  args: FLAGS,
  userDataDir: profile,
  defaultViewport: { width: 1500, height: 900 },
  protocolTimeout: 120000,
});
const page = await browser.newPage();
let errors = [];
page.on('pageerror', (error) => errors.push(String(error?.stack ?? error)));
page.on('console', (message) => {
  if (message.type() === 'error') errors.push(message.text());
});

// `script` is the text of a function of one argument, run in the page.
const call = (script, argument) => page.evaluate(`(${script})(${JSON.stringify(argument ?? null)})`);

const commands = {
  open: ({ url }) => page.goto(url, { waitUntil: 'domcontentloaded', timeout: 60000 }).then(() => null),
  call: ({ script, argument }) => call(script, argument),
  wait: async ({ script, argument, seconds }) => {
    const expression = `(${script})(${JSON.stringify(argument ?? null)})`;
    const found = await page.waitForFunction(expression, { timeout: 1000 * seconds, polling: 200 });
    return found.jsonValue();
  },
  click: async ({ x, y, count }) => page.mouse.click(x, y, { count: count ?? 1 }),
  screenshot: async ({ path, clip }) => page.screenshot({ path, clip }).then(() => null),
  errors: () => {
    const found = errors;
    errors = [];
    return found;
  },
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { command, ...values } = JSON.parse(line);
  let answer;
  try {
    answer = { value: (await commands[command](values)) ?? null };
  } catch (error) {
    answer = { error: String(error?.message ?? error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
