// Drives real Chromium over every page and its main action.
"use strict";
const fs = require("fs");
const { base, token, password, check, api, emit, equal, hostile, signIn, watch, inspect, keep, drive } = require("./browser_kit.cjs");

const pages = (seqs) => [
  ["sign-in", "/sign-in"], ["overview", "/"], ["events", "/events"], ["events by type", "/events?by=type&since=7d"], ["a wrong filter", "/events?q=severity%20%3E%3D%20loud"],
  ["no events", "/events?q=" + encodeURIComponent('type == "never"')], ["facets", "/events/facets"], ["map", "/events/map"], ["device", "/device"], ["counts", "/events/counts"], ["an event", "/events/" + seqs.plain], ["an exception", "/events/" + seqs.exception],
  ["a mail", "/events/" + seqs.mail], ["a diff", "/events/" + seqs.diff], ["a hostile event", "/events/" + seqs.hostile], ["hostile events", "/events?q=" + encodeURIComponent('source == "/hostile"')],
  ["catalog", "/catalog"], ["a type", "/catalog/disk_full"], ["a new type", "/catalog/new"], ["sources", "/sources"], ["a source", "/sources/disk_full"], ["a push source", "/sources/github"], ["agents", "/agents"], ["settings", "/settings"], ["verification", "/settings/verify"],
  ["retention", "/settings/retention?default=30d&long=60d&short=1d&max_bytes="], ["licences", "/settings/licences"], ["style guide", "/styleguide"], ["nothing here", "/events/999999999"],
];

async function seed() {
  for (let i = 0; i < 130; i++) await emit({ id: "row-" + i, type: i % 3 ? "backup_succeeded" : "disk_full", host: "web-" + (i % 4), subject: "host/web-" + (i % 4), data: i % 3 ? { name: "nightly" } : { path: "/srv" } });
  const one = async (filter) => Number((await api("GET", "/v1/events?limit=1&filter=" + encodeURIComponent(filter))).events[0].sequence);
  await emit({ id: "x", type: "worker_crashed", severitytext: "error", data: { message: "division by zero", exception: { type: "ZeroDivisionError", message: "division by zero", frames: [{ file: "/srv/a.py", line: 3, function: "ratio" }], cause: { type: "ValueError", message: "empty", frames: [] } } } });
  await emit({ id: "m", type: "email_sent", data: { subject: "Hello", from_email: "a@example.org", to: ["b@example.org"], body: '<p>The <b>text</b><script>window.hacked=1</script><img src=x onerror="window.hacked=1"><a href="javascript:window.hacked=1">go</a></p>' } });
  for (const [i, h] of hostile.entries()) {
    const some = h.slice(0, 20000); // an event has a limit, too
    await emit({ id: "h" + i, source: "/hostile", type: h.slice(0, 200).replace(/[\u0000-\u001f\u007f-\u009f]/g, "") || "h", subject: "s", data: { message: h, path: h, list: [h], deep: { [h.slice(0, 300)]: h }, exception: { type: some, message: some, frames: [{ file: some, line: 1, function: some }] }, diff: { [h.slice(0, 200)]: { previous_value: some, new_value: some } }, monitoringAgentResult: some } });
  }
  return {
    plain: await one('id == "row-1"'), exception: await one('id == "x"'), mail: await one('id == "m"'), diff: await one('type == "model_created" && has(data.diff)'), hostile: await one('id == "h1" && source == "/hostile"'),
  };
}

async function look(browser, seqs) {
  for (const [scheme, width] of [["light", 1440], ["dark", 1440], ["light", 360], ["dark", 360]]) {
    const context = await browser.newContext({ colorScheme: scheme, viewport: { width, height: 900 } });
    const page = await context.newPage();
    const bad = watch(page);
    let first = 0;
    const count = async (r) => { try { first += (await r.body()).length; } catch { /* a redirect has none */ } };
    page.on("response", count);
    await signIn(page);
    await page.waitForSelector("#more-facets section", { state: "attached" });
    page.off("response", count);
    await check(`first visit ${scheme} ${width}`, async () => (first > 250000 ? `${first} bytes` : first < 1000 ? "nothing was counted" : ""));
    for (const [name, where] of pages(seqs)) {
      await check(`look ${name} ${scheme} ${width}`, async () => {
        bad.length = 0;
        if (name === "sign-in") await context.clearCookies();
        await page.goto(base + where);
        if (await page.locator("#more-facets[hx-get]").count()) await page.waitForSelector("#more-facets:not([hx-get])", { state: "attached" });
        if (width === 1440 && scheme === "light") keep(name, await (await page.request.get(base + where)).text());
        await inspect(page, bad);
        if (name === "sign-in") await signIn(page);
        return bad.join("\n");
      });
    }
    await context.close();
  }
}

// read shows that every page can be read without scripts.
async function read(browser, seqs) {
  const context = await browser.newContext({ javaScriptEnabled: false, viewport: { width: 1440, height: 900 } });
  const page = await context.newPage();
  await signIn(page);
  const words = {
    overview: "Last 24 hours", events: "backup_succeeded", "a wrong filter": "loud", facets: "/browser", counts: "events", map: "with a place", device: "Code that the program shows", "an event": "nightly", "an exception": "ZeroDivisionError", "a mail": "b@example.org",
    "a diff": "What changed", catalog: "backup_failed", "a type": "threshold", settings: "How long events are kept", retention: "What this would remove", licences: "BSD", "style guide": "Sparkline",
  };
  for (const [name, where] of pages(seqs)) {
    if (!words[name]) continue;
    await check("without scripts " + name, async () => {
      await page.goto(base + where);
      return (await page.locator("main").innerText()).includes(words[name]) ? "" : `${words[name]} is not there`;
    });
  }
  await check("without scripts: older events", async () => {
    await page.goto(base + "/events");
    const newest = await page.locator("#rows tr").first().getAttribute("id");
    await Promise.all([page.waitForURL((to) => to.search !== ""), page.click("#older a")]);
    return (await page.locator("#rows tr").count()) > 0 && (await page.locator("#rows tr").first().getAttribute("id")) !== newest ? "" : "the next page is the same";
  });
  await context.close();
}

async function act(browser) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, acceptDownloads: true });
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  const page = await context.newPage();
  const bad = watch(page);
  const rows = page.locator("#rows tr");
  const at = () => new URL(page.url());

  await check("act: a wrong password", async () => {
    await page.goto(base + "/sign-in");
    await page.fill("input[name=username]", "admin");
    await page.fill("input[name=password]", "wrong");
    await page.click("main button");
    return (await page.locator("[role=alert]").innerText()).includes("wrong") ? "" : "no problem is shown";
  });
  bad.length = 0;
  await signIn(page);

  await check("act: completion", async () => {
    await page.goto(base + "/events");
    await page.click("#search");
    await page.keyboard.type('type == "backup_su');
    await page.waitForSelector('#suggest li:first-child:has-text("backup_succeeded")'); // not what an earlier letter asked for
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Enter");
    const typed = await page.inputValue("#search");
    await page.keyboard.press("Escape");
    await page.keyboard.press("Enter");
    await page.waitForURL(/q=/);
    return equal(typed, 'type == "backup_succeeded"', "completed") || equal(await rows.first().locator("a.open").innerText(), "backup_succeeded", "found");
  });
  await check("act: completion of attributes and fields", async () => {
    await page.goto(base + "/events");
    await page.click("#search");
    await page.keyboard.type("sever");
    await page.waitForSelector('#suggest li[data-text="severity"]');
    await page.fill("#search", "");
    await page.keyboard.type("data.thresh");
    await page.waitForSelector('#suggest li[data-text="data.threshold_percent"]');
    await page.fill("#search", "");
    await page.keyboard.type('host == "web-');
    await page.waitForSelector('#suggest li:has-text("web-3")');
    return "";
  });
  await check("act: a facet narrows and widens", async () => {
    await page.goto(base + "/events");
    await page.click('#facets a:has-text("disk_full")');
    await page.waitForURL(/q=/);
    const types = new Set(await rows.locator("a.open").allInnerTexts());
    const narrow = equal([...types].join(), "disk_full", "types");
    await page.click('#facets a[aria-current]:has-text("disk_full")');
    await page.waitForURL((u) => !u.search.includes("disk_full"));
    return narrow;
  });
  await check("act: older events come while scrolling", async () => {
    await page.goto(base + "/events");
    const before = await rows.count();
    await page.locator("#older a").scrollIntoViewIfNeeded();
    await page.waitForFunction((n) => document.querySelectorAll("#rows tr").length > n, before);
    const ids = await rows.evaluateAll((all) => all.map((r) => r.id));
    return new Set(ids).size === ids.length ? "" : "a row is there twice";
  });
  await check("act: the drawer", async () => {
    await page.goto(base + "/events?q=" + encodeURIComponent('type == "disk_full"'));
    await rows.first().locator("a.open").click();
    await page.waitForSelector("#drawer #detail");
    const text = await page.locator("#drawer").innerText();
    await page.keyboard.press("j");
    await page.waitForFunction((was) => document.querySelector("#drawer").innerText !== was, text);
    await page.keyboard.press("Escape");
    await page.waitForSelector("#drawer", { state: "hidden" });
    return text.includes("/srv") ? "" : "the drawer lacks the data: " + text.slice(0, 300);
  });
  await check("act: copy", async () => {
    await page.locator("#rows a.open").first().click();
    await page.waitForSelector("#drawer [data-copy]");
    await page.locator("#drawer [data-copy]").first().click();
    await page.waitForSelector('#drawer [data-copy]:has-text("Copied")');
    const text = await page.evaluate(() => navigator.clipboard.readText());
    return text.includes("source ==") ? "" : "the clipboard holds " + text;
  });
  await check("act: drag over the graph", async () => {
    await page.goto(base + "/events?since=1h");
    const box = await page.locator(".graph > svg").boundingBox();
    await page.mouse.move(box.x + box.width * 0.5, box.y + 30);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width - 2, box.y + 30);
    await page.mouse.up();
    await page.waitForURL(/until=/);
    const span = Date.parse(at().searchParams.get("until")) - Date.parse(at().searchParams.get("since"));
    return span > 20 * 60000 && span < 40 * 60000 && (await rows.count()) > 0 ? "" : `a range of ${span} ms with ${await rows.count()} rows`;
  });
  await check("act: live", async () => {
    await page.goto(base + "/events");
    await page.click("#live");
    await page.waitForSelector('#live:has-text("Live: on")');
    await emit({ id: "live-1", type: "door_opened", data: { message: "<b>rack</b> 4" } });
    await page.waitForSelector("#rows tr.fresh:has-text('door_opened')");
    const text = await page.locator("#rows tr.fresh").first().innerText();
    await page.click("#live");
    return text.includes("<b>rack</b> 4") ? "" : text;
  });
  await check("act: save a search and remove it", async () => {
    await page.goto(base + "/events?q=" + encodeURIComponent("severity >= warn") + "&since=7d");
    await page.click("summary:has-text('Save this search')");
    await page.fill("form[action='/searches'] input[name=name]", "What is bad");
    await page.click("form[action='/searches'] button");
    await page.waitForSelector(".facet a[aria-current]:has-text('What is bad')");
    await page.click("button[aria-label='Remove the saved search What is bad']");
    await page.waitForURL(base + "/events");
    return equal(await page.locator(".facet a:has-text('What is bad')").count(), 0, "saved searches");
  });
  await check("act: export", async () => {
    await page.goto(base + "/events?q=" + encodeURIComponent('type == "disk_full"'));
    const read = async (label) => {
      const [download] = await Promise.all([page.waitForEvent("download"), page.click(`a:has-text("${label}")`)]);
      return fs.readFileSync(await download.path(), "utf8").trim().split("\n");
    };
    const json = await read("NDJSON"), csv = await read("CSV");
    return equal(json.length, 44, "events") || equal(csv.length, 45, "lines of CSV") || equal(JSON.parse(json[0]).type, "disk_full", "type");
  });
  await check("act: add and edit a type", async () => {
    await page.goto(base + "/catalog/new");
    await page.fill("input[name=type]", "door_opened");
    await page.fill("input[name=description]", "A door was opened.");
    await page.locator("input[name='field.name']").first().fill("door");
    await page.click("main button:has-text('Add the type')");
    await page.waitForURL(/door_opened$/);
    await page.click("a:has-text('Edit this type')");
    await page.fill("input[name=description]", "A door of a rack was opened.");
    await page.click("main button:has-text('Save as a new version')");
    await page.waitForURL(/door_opened$/);
    const text = await page.locator("body").innerText();
    return text.includes("A door of a rack was opened.") && text.includes("version 2") ? "" : text.slice(0, 400);
  });
  await check("act: a wrong type", async () => {
    await page.goto(base + "/catalog/new");
    await page.fill("input[name=type]", "disk_full");
    await page.fill("input[name=description]", "Mine.");
    await page.click("main button:has-text('Add the type')");
    await page.waitForSelector("[role=alert]");
    return equal(await page.inputValue("input[name=description]"), "Mine.", "what was typed");
  });
  await check("act: make a token and revoke it", async () => {
    await page.goto(base + "/settings");
    await page.click("summary:has-text('Make a token')");
    await page.fill("form[action='/settings/tokens'] input[name=name]", "of the browser");
    await page.click("main button:has-text('Make it')");
    const secret = await page.locator(".good code").innerText();
    const works = await fetch(base + "/v1/catalog/disk_full", { headers: { authorization: "Bearer " + secret } });
    const row = page.locator("tr:has-text('of the browser')");
    await row.locator("summary").click();
    await row.locator("button.danger").click();
    await page.waitForURL(/said=revoked/);
    const dead = await fetch(base + "/v1/catalog/disk_full", { headers: { authorization: "Bearer " + secret } });
    return equal(works.status, 403, "status with the scope emit only") || equal(dead.status, 401, "status when revoked");
  });
  await check("act: verify the journal", async () => {
    await page.goto(base + "/settings");
    await page.click("button:has-text('Verify the journal')");
    await page.waitForSelector("text=The journal is whole");
    return "";
  });
  await check("act: retention", async () => {
    await page.goto(base + "/settings");
    await page.fill("input[name=short]", "7d");
    await page.click("button:has-text('See what this would remove')");
    await page.waitForSelector("text=Nothing that is recorded today");
    await page.click("main button:has-text('Save')");
    await page.waitForSelector("text=The retention is saved");
    return equal(await page.inputValue("input[name=short]"), "7d", "short");
  });
  await check("act: address and mail server", async () => {
    await page.fill("input[name='smtp.host']", "mail.example.com");
    await page.click("button:has-text('Save address and mail')");
    await page.waitForSelector("[role=alert]:has-text('smtp.from')");
    const kept = await page.inputValue("input[name='smtp.host']");
    await page.fill("input[name='smtp.from']", "tocsin@example.com");
    await page.fill("input[name='smtp.username']", "tocsin");
    await page.fill("input[name='smtp.password']", "a mail password");
    await page.selectOption("select[name='smtp.tls']", "implicit");
    await page.fill("input[name='smtp.port']", "465");
    await page.click("button:has-text('Save address and mail')");
    await page.waitForSelector("text=Address and mail server are saved");
    const now = await api("GET", "/v1/settings");
    return equal(kept, "mail.example.com", "what was typed") || equal(JSON.stringify(now.smtp), JSON.stringify({ host: "mail.example.com", port: 465, username: "tocsin", password_set: true, from: "tocsin@example.com", tls: "implicit" }), "settings") ||
      equal(await page.inputValue("input[name='smtp.password']"), "", "the password is shown");
  });
  await check("act: reload", async () => {
    await page.click("button:has-text('Reload the configuration')");
    await page.waitForSelector("text=The configuration is reloaded");
    return "";
  });
  await check("act: keys", async () => {
    await page.goto(base + "/");
    await page.keyboard.press("g");
    await page.keyboard.press("c");
    await page.waitForURL(base + "/catalog");
    await page.keyboard.press("?");
    const open = await page.locator("dialog[open]").count();
    await page.keyboard.press("Escape");
    await page.keyboard.press("/");
    const focused = await page.evaluate(() => document.activeElement.id);
    return equal(open, 1, "dialogs") || equal(focused, "search", "focus");
  });
  await check("act: times and theme", async () => {
    await page.goto(base + "/events");
    await page.keyboard.press("t");
    await page.keyboard.press("t");
    const time = await page.locator("#rows time").first().innerText();
    await page.click("#theme");
    await page.click("#theme");
    const dark = await page.evaluate(() => getComputedStyle(document.documentElement).colorScheme);
    await page.reload();
    return (/UTC$/.test(time) ? "" : time) || equal(dark, "dark", "scheme") || equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark", "kept theme");
  });
  await check("act: nothing went wrong meanwhile", async () => bad.join("\n"));
  await check("act: sign out", async () => {
    await page.click("button:has-text('Sign out')");
    await page.waitForURL(/sign-in/);
    await page.goto(base + "/events");
    return at().pathname === "/sign-in" ? "" : "the session goes on";
  });
  await context.close();
}

drive(async (browser) => {
  const seqs = await seed();
  await look(browser, seqs);
  await read(browser, seqs);
  await act(browser);
});
