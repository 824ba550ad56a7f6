// What the browser tests have in common. They print one JSON line for each
// check: {"name", "problem"}; an empty problem is a pass. Environment: URL, TOKEN,
// PASSWORD, CHROMIUM, and HTML, a folder for what the pages consist of. Where the
// browser calls the server by a name that only it knows, HOSTS says to the browser
// where that is (--host-resolver-rules), and API is the server's address for us.
"use strict";
const { chromium } = require("playwright-core");
const fs = require("fs");
const path = require("path");
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const { URL: base, TOKEN: token, PASSWORD: password, CHROMIUM: executablePath, HTML: folder, API: server = base, HOSTS: hosts } = process.env;

const say = (name, problem) => console.log(JSON.stringify({ name, problem: problem || "" }));
const check = async (name, fn) => {
  try {
    say(name, await fn());
  } catch (e) {
    say(name, String((e && e.stack) || e).slice(0, 1500));
  }
};
const api = async (method, where, body, media = "application/json") => {
  const r = await fetch(server + where, { method, headers: { authorization: "Bearer " + token, "content-type": media }, body });
  const text = await r.text();
  if (!r.ok) throw new Error(method + " " + where + ": " + r.status + " " + text);
  return text ? JSON.parse(text) : null;
};
const emit = (e) => api("POST", "/v1/events", JSON.stringify({ specversion: "1.0", source: "/browser", ...e }), "application/cloudevents+json");
const equal = (got, want, what) => (got === want ? "" : `${what}: got ${JSON.stringify(got)}, want ${JSON.stringify(want)}`);

const hostile = [
  '<script>window.hacked=1</script>', '"><img src=x onerror="window.hacked=1">', "javascript:window.hacked=1", "\u202egnp.exe", "\u0007\u001b[31mred\u0000",
  "x".repeat(100000), "{{.}}", "</textarea></table></style>", "'; DROP TABLE events; --",
];

async function signIn(page, username = "admin", secret = password) {
  await page.goto(base + "/sign-in");
  await page.fill("input[name=username]", username);
  await page.fill("input[name=password]", secret);
  await Promise.all([page.waitForURL(base + "/"), page.click("main button")]);
}

// watch collects what a page must never say.
function watch(page) {
  const bad = [];
  page.on("console", (m) => { if (m.type() === "error" && !/status of 40[01349]/.test(m.text())) bad.push("console: " + m.text()); });
  page.on("pageerror", (e) => bad.push("error: " + e.message));
  page.on("dialog", (d) => { bad.push("dialog: " + d.message()); d.dismiss(); });
  return bad;
}

// inspect adds to bad what is wrong with the page that is open.
async function inspect(page, bad) {
  const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  if (over > 0) bad.push(`wider than the window by ${over} px`);
  if (await page.evaluate(() => window.hacked)) bad.push("a hostile string ran");
  await page.evaluate(axe);
  const found = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
  for (const v of found.violations) if (v.impact === "serious" || v.impact === "critical") bad.push(`axe ${v.id}: ${v.help}: ${v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160)).join(" | ")}`);
}

// keep stores the HTML of a page for the validator.
const keep = (name, html) => fs.writeFileSync(path.join(folder, name.replace(/ /g, "-") + ".html"), html);

// drive opens a browser for some work.
function drive(work) {
  (async () => {
    const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-background-networking", "--disable-dev-shm-usage", ...(hosts ? ["--host-resolver-rules=" + hosts] : [])] });
    await work(browser);
    await browser.close();
  })().catch((e) => { say("browser", String(e.stack || e)); process.exit(1); });
}

module.exports = { base, server, token, password, say, check, api, emit, equal, hostile, signIn, watch, inspect, keep, drive };
