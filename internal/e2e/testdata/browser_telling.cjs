// Drives real Chromium over the pages about telling: inbox, ledger, transports,
// silences, words, and the link that ends mails.
"use strict";
const http = require("http");
const { base, server, password, check, api, emit, equal, hostile, signIn, watch, inspect, keep, drive } = require("./browser_kit.cjs");

const nasty = '<script>window.hacked=1</script>"><img src=x onerror="window.hacked=1">';
const { UNSUBSCRIBE: unsubscribe } = process.env;

// sink is a webhook's other side: it refuses until it is told to be well.
const sink = { well: false, got: [] };
const listening = new Promise((resolve) => {
  const s = http.createServer((q, r) => {
    let body = "";
    q.on("data", (d) => { body += d; });
    q.on("end", () => {
      sink.got.push(body);
      r.writeHead(sink.well ? 200 : 503, { "content-type": "text/plain" });
      r.end(sink.well ? "thank you" : "<b>not now</b> " + nasty);
    });
  }).listen(0, "127.0.0.1", () => resolve(`http://someone:geheim@127.0.0.1:${s.address().port}/told?token=geheim`));
  s.unref();
});

const until = async (what, is, limit = 20000) => {
  const began = Date.now();
  for (;;) {
    const got = await is();
    if (got) return got;
    if (Date.now() - began > limit) throw new Error("not in time: " + what);
    await new Promise((r) => setTimeout(r, 50));
  }
};
const ledger = async (query) => (await api("GET", "/v1/deliveries?" + query)).items;

async function seed() {
  const url = await listening;
  const retry = { attempts: 2, first: "100ms", most: "100ms" };
  const hook = await api("POST", "/v1/transports", JSON.stringify({ name: nasty.slice(0, 100), mode: "webhook", settings: { url, headers: { "X-Team": "geheim" } }, retry }));
  const admins = { access_levels: ["admin"] };
  const rule = await api("POST", "/v1/rules", JSON.stringify({ name: "{{.}} " + nasty.slice(0, 90), types: ["door_opened"], transports: ["1"], recipients: admins, escalate: [{ after: "2h" }] }));
  const gates = await api("POST", "/v1/rules", JSON.stringify({ name: "Gates", types: ["door_opened"], filter: 'host.startsWith("gate-")', transports: [hook.id] }));
  await emit({ id: "first", type: "door_opened", host: "gate-0", data: { door: "first" } });
  for (const h of hostile) await emit({ id: "h" + h.length, type: "door_opened", host: h.slice(0, 200).replace(/[\u0000-\u001f]/g, "?") || "?", data: { door: h } });
  await api("POST", "/v1/silences", JSON.stringify({ filter: `host == "${"x".repeat(300)}"`, comment: nasty, expires_at: new Date(Date.now() + 3600e3).toISOString(), rules: [rule.id] }));
  await api("POST", "/v1/silences", JSON.stringify({ filter: 'type == "later"', starts_at: new Date(Date.now() + 3600e3).toISOString(), expires_at: new Date(Date.now() + 7200e3).toISOString() }));
  await api("POST", "/v1/templates", JSON.stringify({ type: "backup_failed", title: nasty, text: "{data.name} " + nasty }));
  await emit({ id: "words", type: "backup_failed", data: { name: nasty } });
  const dead = await until("the hook gives up", async () => (await ledger(`transport=${hook.id}&state=dead`))[0]);
  await until("the inbox has it", async () => (await ledger("transport=1&state=delivered"))[0]);
  return { hook: hook.id, rule: rule.id, gates: gates.id, dead: dead.id };
}

const pages = (ids) => [
  ["inbox", "/inbox"], ["inbox new", "/inbox?unseen=true"], ["ledger", "/deliveries"], ["ledger dead", `/deliveries?state=dead&transport=${ids.hook}&rule=${ids.gates}`], ["ledger none", "/deliveries?sequence=999999"],
  ["delivery", "/deliveries/" + ids.dead], ["no delivery", "/deliveries/999999"], ["replay", "/deliveries/replay?state=dead"], ["transports", "/transports"], ["modes", "/transports/new"],
  ["new webhook", "/transports/new?mode=webhook"], ["new email", "/transports/new?mode=email"], ["transport", "/transports/" + ids.hook], ["inbox transport", "/transports/1"],
  ["silences", "/silences"], ["silence prefilled", "/silences?filter=" + encodeURIComponent('type == "door_opened"')], ["silence wrong", "/silences?filter=" + encodeURIComponent("type ==")], ["pending silences", "/silences?state=pending"],
  ["words", "/catalog/backup_failed/words"], ["usual words", "/catalog/disk_full/words"], ["type", "/catalog/backup_failed"],
];

async function look(browser, ids) {
  for (const [scheme, width] of [["light", 1440], ["dark", 1440], ["light", 360], ["dark", 360]]) {
    const context = await browser.newContext({ colorScheme: scheme, viewport: { width, height: 900 } });
    const page = await context.newPage();
    const bad = watch(page);
    const strangers = [["unsubscribe", unsubscribe], ["unsubscribe wrong", "/unsubscribe?of=1.1.x"]];
    for (const [name, where] of [...strangers, ...pages(ids)]) {
      if (name === "inbox") await signIn(page);
      await check(`look ${name} ${scheme} ${width}`, async () => {
        bad.length = 0;
        await page.goto(base + where);
        for (const s of await page.locator("main summary").all()) if (await s.isVisible()) await s.click();
        if (width === 1440 && scheme === "light") keep(name, await (await page.request.get(base + where)).text());
        await inspect(page, bad);
        if (/geheim/.test(await page.content())) bad.push("a secret is in the page");
        return bad.join("\n");
      });
    }
    await context.close();
  }
}

// plainly does the main acts without scripts.
async function plainly(browser, ids) {
  const context = await browser.newContext({ javaScriptEnabled: false });
  const page = await context.newPage();
  await signIn(page);
  await check("without scripts: a message is seen, and new again", async () => {
    await page.goto(base + "/inbox");
    const row = await page.locator("tr[id^=m]").first().getAttribute("id");
    await page.click(`#${row} button:has-text('Seen')`);
    await page.waitForSelector(`#${row} button:has-text('New again')`);
    await page.click(`#${row} button:has-text('New again')`);
    await page.waitForSelector(`#${row}.new`);
    return "";
  });
  await check("without scripts: a preview of a silence", async () => {
    await page.goto(base + "/silences");
    await page.fill("#search", 'type == "door_opened"');
    await page.fill("input[name=comment]", "kept");
    await page.click("button:has-text('Preview')");
    await page.waitForURL(/filter=/);
    const said = await page.textContent("#covered");
    return (/would have covered 10 of/.test(said) ? "" : said) || equal(await page.inputValue("input[name=comment]"), "kept", "comment");
  });
  await check("without scripts: words are previewed", async () => {
    await page.goto(base + "/catalog/door_opened/words");
    await page.fill("textarea[name=text]", "door {data.door} says hello");
    await page.click("button:has-text('Preview')");
    await page.waitForURL(/text=/);
    return /says hello/.test(await page.textContent("#told-words")) ? "" : await page.textContent("#told-words");
  });
  await check("without scripts: the ledger narrowed down", async () => {
    await page.goto(base + "/deliveries?state=dead");
    await page.selectOption("select[name=transport]", ids.hook);
    await page.click("button:has-text('Show')");
    await page.waitForURL(/transport=/);
    const url = new URL(page.url());
    return equal(url.searchParams.get("transport"), ids.hook, "transport") || equal(url.searchParams.get("state"), "dead", "state");
  });
  await context.close();
}

async function act(browser, ids) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
  const page = await context.newPage();
  const bad = watch(page);
  await signIn(page);
  const counted = async () => Number(await page.textContent("[data-unseen]"));
  let made = "";

  await check("act: the keys of the pages", async () => {
    for (const [key, where] of [["d", "/deliveries"], ["w", "/transports"], ["q", "/silences"], ["i", "/inbox"]]) {
      await page.keyboard.press("g");
      await page.keyboard.press(key);
      await page.waitForURL(base + where);
    }
    return "";
  });
  await check("act: a message arrives in the open inbox", async () => {
    await page.waitForSelector("#live[aria-pressed=true]:has-text('Live: on')");
    await page.evaluate(() => { window.here = 1; });
    const before = await counted();
    await emit({ id: "live", type: "door_opened", host: "gate-1", severity: "warn", data: { door: "north" } });
    await page.waitForSelector("tr.new:has-text('gate-1')");
    await until("the count", async () => (await counted()) === before + 2); // the hook's failure is told, too
    return equal(await page.evaluate(() => window.here), 1, "the page was loaded anew") || bad.join("\n");
  });
  await check("act: seen, and new again, with the focus kept", async () => {
    const before = await counted();
    const row = await page.locator("tr:has-text('gate-1')").first().getAttribute("id");
    const button = "#seen-" + row.slice(1);
    await page.focus(button);
    await page.keyboard.press("Enter");
    await page.waitForSelector(`#${row}:not(.new)`);
    await until("one fewer", async () => (await counted()) === before - 1);
    const focused = await page.evaluate(() => document.activeElement.id);
    await page.click(button);
    await page.waitForSelector(`#${row}.new`);
    await until("one more", async () => (await counted()) === before);
    return equal("#" + focused, button, "focus");
  });
  await check("act: who opens a message has seen it", async () => {
    const before = await counted();
    await page.locator("tr.new:has-text('gate-1') a.open").first().click();
    await page.waitForURL(/\/events\/\d+$/);
    return (await until("one fewer", async () => { await page.reload(); return (await counted()) === before - 1; })) ? "" : "no";
  });
  await check("act: acknowledged", async () => {
    await page.goto(base + "/inbox");
    const button = page.locator("button:has-text('Acknowledge')").first();
    const id = await button.getAttribute("id");
    await button.click();
    await page.waitForSelector("text=It is acknowledged");
    await until("no more asked", async () => { await page.reload(); return (await page.locator("#" + id).count()) === 0; });
    return equal((await api("GET", "/v1/events?filter=" + encodeURIComponent('type == "notification.acknowledged"'))).events[0].authname, "admin", "who");
  });
  await check("act: mute a rule and take it back", async () => {
    const row = page.locator("tr:has-text('gate-1')").first();
    await row.locator("summary").click();
    await row.locator("button:has-text('Mute it')").click();
    await page.waitForSelector("text=This rule tells you no more");
    await emit({ id: "muted", type: "door_opened", host: "gate-2", data: { door: "x" } });
    const quiet = await until("it is counted", async () => (await ledger(`rule=${ids.rule}&state=suppressed`)).find((d) => d.reason === "unsubscribed"));
    await page.click("#muted button:has-text('Tell me again')");
    await page.waitForSelector("text=This rule tells you again");
    return equal(quiet.transport, "1", "way");
  });
  await check("act: all are seen", async () => {
    await page.click("#all-seen");
    await page.waitForSelector("text=All messages are marked as seen");
    await until("none is new", async () => {
      if (await page.isVisible("#all-seen")) await page.click("#all-seen"); // the hook fails meanwhile
      return !(await page.isVisible("[data-unseen]"));
    });
    return equal(await page.locator("tr.new").count(), 0, "new ones");
  });
  await check("act: the ledger shows the attempts of a dead webhook", async () => {
    await page.goto(base + "/deliveries?state=dead&transport=" + ids.hook);
    await page.locator(`#d${ids.dead} a.open`).click();
    await page.waitForURL(base + "/deliveries/" + ids.dead);
    const text = await page.textContent("main");
    if (await page.locator("tbody tr").count() !== 2) return "attempts: " + text;
    return /503/.test(text) && /not now/.test(text) && /ms/.test(text) ? "" : text;
  });
  await check("act: one is sent again, and arrives", async () => {
    await until("nothing waits", async () => (await ledger("state=retrying")).length + (await ledger("state=queued")).length === 0);
    sink.well = true;
    const before = sink.got.length;
    await page.click("summary:has-text('Send it again')");
    await page.click("button:has-text('Send this message again')");
    await page.waitForSelector("main .badge-good:has-text('delivered')");
    return equal(sink.got.length, before + 1, "requests") || (/thank you/.test(await page.textContent("main")) ? "" : "no answer is shown");
  });
  await check("act: a range is sent again, and counted before", async () => {
    await page.goto(base + "/deliveries?state=dead&transport=" + ids.hook);
    await page.click("a:has-text('Send these again')");
    await page.waitForURL(/replay/);
    const count = Number(/(\d+) messages? would be sent again/.exec(await page.textContent("main"))[1]);
    const before = sink.got.length;
    await page.click(`button:has-text('Send ${count} again')`);
    await page.waitForSelector(`text=These are sent again: ${count}.`);
    await until("all arrive", async () => sink.got.length === before + count);
    await page.goto(base + "/deliveries?state=dead&transport=" + ids.hook);
    return equal(await page.locator("#ledger tbody tr").count(), 0, "dead rows");
  });
  await check("act: a wrong transport keeps what was typed", async () => {
    await page.goto(base + "/transports");
    await page.click("a:has-text('New transport')");
    await page.click("a[href='/transports/new?mode=webhook']");
    await page.fill("input[name=name]", nasty.slice(0, 80));
    await page.fill("input[name='s.url']", "ftp://nowhere");
    await page.fill("textarea[name='s.headers']", "X-Path: {{ data.door }}");
    await page.click("button:has-text('Make the transport')");
    await page.waitForSelector("[role=alert]");
    return equal(await page.inputValue("input[name=name]"), nasty.slice(0, 80), "name") || equal(await page.inputValue("textarea[name='s.headers']"), "X-Path: {{ data.door }}", "headers");
  });
  await check("act: a transport is made and tested", async () => {
    await page.fill("input[name=name]", "Made here");
    await page.fill("input[name='s.url']", await listening);
    await page.fill("textarea[name='s.headers']", "X-Team: geheim");
    await page.click("summary:has-text('How often')");
    await page.fill("input[name='rate.count']", "100");
    await page.fill("input[name='rate.within']", "1s");
    await page.click("button:has-text('Make the transport')");
    await page.waitForSelector("text=The transport is made");
    made = new URL(page.url()).pathname.split("/").pop();
    if (/geheim/.test(await page.content())) return "the secret is shown";
    await page.click("button:has-text('Send a test message')");
    await page.waitForSelector("#test:has-text('has arrived')");
    const text = await page.textContent("#test");
    return (/Status 200/.test(text) && /thank you/.test(text) && /\d ms/.test(text) ? "" : text) || (/messages of this Tocsin arrive here/.test(sink.got.at(-1)) ? "" : "sent: " + sink.got.at(-1));
  });
  await check("act: a test that fails says what was answered", async () => {
    sink.well = false;
    await page.click("button:has-text('Send a test message')");
    await page.waitForSelector("#test:has-text('has not arrived')");
    const text = await page.textContent("#test");
    await until("the stream has spoken", async () => /Live: on/.test(await page.textContent("#live")));
    const asked = page.waitForResponse((r) => r.request().resourceType() === "fetch");
    await emit({ id: "while-tested", type: "door_opened", host: "gate-7", data: { door: "z" } });
    const fresh = await asked; // the page keeps itself up to date, from where it really is
    if (fresh.status() !== 200 || !fresh.url().endsWith("/transports/" + made)) return `${fresh.url()}: ${fresh.status()}`;
    return /Status 503/.test(text) && /not now/.test(text) ? equal(await page.evaluate(() => window.hacked), undefined, "hacked") : text;
  });
  await check("act: secrets that are not touched stay", async () => {
    sink.well = true;
    await page.goto(base + "/transports/" + made);
    await page.fill("input[name=name]", "Made there");
    await page.click("button:has-text('Save')");
    await page.waitForSelector("text=The transport is saved");
    await page.click("button:has-text('Send a test message')");
    await page.waitForSelector("#test:has-text('has arrived')");
    const shown = await api("GET", "/v1/transports/" + made);
    return equal(shown.name, "Made there", "name") || equal(shown.rate.count, 100, "rate");
  });
  await check("act: secrets are shown for the password", async () => {
    await page.click("summary:has-text('Show its secrets')");
    await page.fill("input[name=password]", "wrong");
    await page.click("button:has-text('Show them')");
    await page.waitForSelector("[role=alert]");
    await page.click("summary:has-text('Show its secrets')");
    await page.fill("input[name=password]", password);
    await page.click("button:has-text('Show them')");
    await page.waitForSelector("#revealed");
    const viewed = await api("GET", "/v1/events?filter=" + encodeURIComponent(`type == "secret_view" && subject == "transport/${made}"`));
    return (/geheim@/.test(await page.textContent("#revealed")) ? "" : "not shown") || equal(viewed.events.length, 1, "secret_view");
  });
  await check("act: a transport that a rule uses stays, another goes", async () => {
    await page.goto(base + "/transports/" + ids.hook);
    await page.click("summary:has-text('Delete')");
    await page.click("button:has-text('Delete it')");
    await page.waitForSelector("[role=alert]:has-text('uses this transport')");
    await page.goto(base + "/transports/" + made);
    await page.click("summary:has-text('Delete')");
    await page.click("button:has-text('Delete it')");
    await page.waitForSelector("text=The transport is deleted");
    return "";
  });
  await check("act: a silence from an event covers the next", async () => {
    const [e] = (await api("GET", "/v1/events?filter=" + encodeURIComponent('type == "door_opened" && host == "gate-1"'))).events;
    await page.goto(base + "/events/" + Number(e.sequence));
    await page.click("a:has-text('silence events like this')");
    await page.waitForSelector("#covered:has-text('would have covered 1 of')");
    if (!/host == "gate-1"/.test(await page.inputValue("#search"))) return "filter: " + (await page.inputValue("#search"));
    await page.fill("input[name=comment]", "gate is repaired");
    await page.check("input[name=for][value='8h']");
    await page.click("button:has-text('Silence')");
    await page.waitForSelector("text=The silence holds");
    await emit({ id: "quiet", type: "door_opened", host: "gate-1", data: { door: "north" } });
    const row = await until("it is counted", async () => (await ledger(`rule=${ids.rule}&state=suppressed`)).find((d) => d.reason === "silenced"));
    await page.goto(base + "/deliveries?state=suppressed");
    const text = await page.textContent("#d" + row.id);
    return (/1 not told: a silence covers it/.test(text) ? "" : text) || equal(await page.locator(`#d${row.id} a:has-text('Explain')`).getAttribute("href"), `/rules/${ids.rule}/explain?sequence=${Number(row.sequence)}`, "explain");
  });
  await check("act: while a filter is written, the preview follows", async () => {
    await page.goto(base + "/silences");
    await page.fill("#search", "");
    await page.locator("#search").pressSequentially('type == "door_opened"');
    await page.waitForSelector("#covered:has-text('would have covered')");
    await until("all doors", async () => /covered 1\d of/.test(await page.textContent("#covered")));
    await page.keyboard.press("Escape");
    await page.locator("#search").pressSequentially(" &&");
    await page.waitForSelector("#covered .problem pre:has-text('^')");
    return bad.join("\n");
  });
  await check("act: a wrong silence is not made", async () => {
    await page.keyboard.press("Escape");
    await page.click("button:has-text('Silence')");
    await page.waitForSelector("main .problem pre:has-text('^')");
    return equal((await api("GET", "/v1/silences")).items.length, 3, "silences");
  });
  await check("act: a silence is ended", async () => {
    await page.goto(base + "/silences?state=active");
    const row = page.locator("tr:has-text('gate is repaired')");
    await row.locator("summary").click();
    await row.locator("button:has-text('End it')").click();
    await page.waitForSelector("text=The silence is ended");
    await page.waitForSelector("tr:has-text('gate is repaired') >> text=expired");
    await emit({ id: "loud", type: "door_opened", host: "gate-1", data: { door: "loud" } });
    await until("it is told", async () => (await ledger(`rule=${ids.gates}&transport=${ids.hook}`))[0].sequence > (await ledger(`rule=${ids.rule}&state=suppressed`)).find((d) => d.reason === "silenced").sequence);
    return "";
  });
  await check("act: other words change the message", async () => {
    await page.goto(base + "/catalog/door_opened");
    await page.click("a:has-text('in other words')");
    await page.fill("input[name=title]", "Door {data.door}");
    await page.locator("textarea[name=text]").pressSequentially("somebody is at {host}");
    await page.waitForSelector("#told-words:has-text('somebody is at gate-1')");
    await page.click("button:has-text('Save these words')");
    await page.waitForSelector("text=told in these words");
    await page.goto(base + "/inbox");
    await emit({ id: "worded", type: "door_opened", host: "gate-9", data: { door: "south" } });
    await page.waitForSelector("tr.new:has-text('Door south'):has-text('somebody is at gate-9')");
    await until("the hook has them, too", async () => sink.got.some((b) => /somebody is at gate-9/.test(b)));
    return "";
  });
  await check("act: back to the catalog's words", async () => {
    await page.goto(base + "/catalog/door_opened/words");
    await page.click("summary:has-text('Back to the catalog')");
    await page.click("button:has-text('Take the catalog')");
    await page.waitForSelector("text=The catalog's words are back");
    return equal((await api("GET", "/v1/templates")).items.length, 1, "templates");
  });
  await check("act: opened details are left alone while others arrive", async () => {
    await page.goto(base + "/inbox");
    await page.waitForSelector("#live:has-text('Live: on')");
    const row = await page.locator("tr[id^=m]").first().getAttribute("id");
    await page.click(`#${row} summary`);
    await emit({ id: "other", type: "door_opened", host: "gate-3", data: { door: "y" } });
    await page.waitForSelector("tr.new:has-text('gate-3')");
    return equal(await page.locator(`#${row} details[open]`).count(), 1, "open") || bad.join("\n");
  });
  await context.close();
}

async function strangers(browser) {
  const page = await (await browser.newContext()).newPage();
  await check("act: looking at the link of a mail ends nothing", async () => {
    await page.goto(base + unsubscribe);
    await page.waitForSelector("button:has-text('Yes, end these messages')");
    return equal((await page.context().cookies()).length, 0, "cookies");
  });
  await check("act: its button does", async () => {
    await page.click("button:has-text('Yes, end these messages')");
    await page.waitForSelector("text=tells you no more");
    return "";
  });
  await check("act: one-click, as a mail provider does it", async () => {
    for (const [kind, body] of [["application/x-www-form-urlencoded", "List-Unsubscribe=One-Click"], ["multipart/form-data; boundary=b", '--b\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--b--\r\n']]) {
      const r = await fetch(server + unsubscribe, { method: "POST", redirect: "manual", headers: { "content-type": kind, origin: "https://mail.example", "sec-fetch-site": "cross-site" }, body });
      if (r.status !== 200) return kind + ": " + r.status + " " + (await r.text());
      if (r.headers.get("set-cookie")) return "a cookie is set";
    }
    const wrong = await fetch(server + "/unsubscribe?of=1.1.x", { method: "POST", body: new URLSearchParams({ "List-Unsubscribe": "One-Click" }) });
    return equal(wrong.status, 404, "a wrong link");
  });
}

drive(async (browser) => {
  const ids = await seed();
  await look(browser, ids);
  await plainly(browser, ids);
  await act(browser, ids);
  await strangers(browser);
});
