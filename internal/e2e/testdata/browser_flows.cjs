// Drives real Chromium over the pages about flows: the editor with its check and
// its diagram, dry runs, triggers, runs that go on while they are looked at, secrets.
"use strict";
const { base, password, check, api, emit, equal, hostile, signIn, watch, inspect, keep, drive } = require("./browser_kit.cjs");

const nasty = '<script>window.hacked=1</script>"><img src=x onerror="window.hacked=1">';
const send = (method, where, body) => api(method, where, JSON.stringify(body));
const flow = (doc) => api("POST", "/v1/flows", JSON.stringify(doc));
const header = (name) => ({ dsl: "1.0.3", namespace: "default", name, version: "1.0.0" });

// soon waits until something holds.
async function soon(what, holds) {
  for (let i = 0; i < 150; i++) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error("not in time: " + what);
}

// everything is a flow with a task of most kinds, under names that mean harm.
const everything = {
  document: header("everything"),
  do: [
    { [nasty]: { set: { unit: '${ .data.unit // "none" }', text: nasty, "\u202egnp": "</textarea></table>" } } },
    { decide: { switch: [{ [nasty.slice(0, 40)]: { when: '.unit == "db"', then: "tell" } }, { other: { then: "loop" } }] } },
    { loop: { for: { each: "i", in: "[1,2,3]" }, do: [{ inner: { set: { n: "${ $i }" } } }] } },
    { attempt: { try: [{ bad: { raise: { error: { type: "https://example.com/<b>", status: 500, title: nasty } } } }], catch: { do: [{ note: { set: { caught: true } } }] } } },
    { both: { fork: { branches: [{ left: { set: { l: 1 } } }, { right: { do: [{ r1: { set: { r: 1 } } }] } }] } } },
    { tell: { call: "status", with: { status: "done", message: "<b>fine</b> " + nasty } } },
  ],
};

async function seed() {
  const ids = { flow: (await flow(everything)).id };
  ids.wrong = (await flow({ document: { ...header("wrong"), titel: nasty }, do: [{ x: { sat: {} } }, { [nasty]: { set: 7 } }] })).id;
  ids.fails = (await flow({ document: header("fails"), do: [{ a: { set: { n: 1 } } }, { no: { raise: { error: { type: "https://example.com/teapot", status: 418, title: "Teapot " + nasty } } } }] })).id;
  ids.slow = (await flow({ document: header("slow"), do: [{ a: { set: { n: 1 } } }, { pause: { wait: { seconds: 4 } } }, { b: { set: { n: 2 } } }] })).id;
  ids.long = (await flow({ document: header("long"), do: [{ pause: { wait: { days: 40 } } }] })).id;
  ids.trigger = (await send("POST", "/v1/triggers", { name: nasty.slice(0, 100), kind: "event", flow: ids.flow, types: ["service_down"], filter: 'data.unit != "</textarea>"', throttle: { accumulate: { within: "1s", count: 1 }, group_by: ["data.unit", "host"] }, concurrency: { limit: 3, when_full: "queue" } })).id;
  ids.schedule = (await send("POST", "/v1/triggers", { name: "nightly {{.}}", kind: "schedule", flow: ids.slow, cron: "30 2 * * *", timezone: "Europe/Berlin", data: { text: nasty } })).id;
  await send("POST", "/v1/triggers", { name: "plain", kind: "event", flow: ids.slow, types: ["service_down"] });
  await send("POST", "/v1/triggers", { name: "off \u202egnp", kind: "event", flow: ids.fails, enabled: false, types: ["service_*"] });
  ids.secret = (await send("POST", "/v1/secrets", { name: "garden", value: "tulips-77" })).id;
  for (const [i, h] of hostile.entries()) {
    const some = h.slice(0, 20000);
    await emit({ id: "h" + i, source: "/hostile", type: "service_down", data: { unit: some, reason: "failed", [h.slice(0, 200)]: some } });
  }
  const run = async (id, input) => (await send("POST", "/v1/flows/" + id + "/runs", input)).id;
  ids.faulted = await run(ids.fails, { text: nasty });
  ids.done = await run(ids.flow, { data: { unit: "web" } });
  const over = async (id) => ["completed", "faulted", "cancelled"].includes((await api("GET", "/v1/runs/" + id)).state);
  await soon("the runs are over", async () => (await over(ids.faulted)) && (await over(ids.done)));
  await soon("events have runs", async () => (await api("GET", "/v1/runs?limit=100&state=completed&trigger=" + ids.trigger)).items.length >= 5);
  ids.event = String(Number((await api("GET", "/v1/events?limit=1&filter=" + encodeURIComponent('source == "/hostile" && id == "h1"'))).events[0].sequence));
  return ids;
}

const pages = (ids) => [
  ["flows", "/flows"], ["new flow", "/flows/new"], ["new flow of a template", "/flows/new?template=restart-failed-unit"], ["a flow", "/flows/" + ids.flow], ["a wrong flow", "/flows/" + ids.wrong],
  ["no flow", "/flows/99999"], ["triggers", "/triggers"], ["triggers of a flow", "/triggers?flow=" + ids.flow], ["no triggers", "/triggers?flow=99999"], ["a trigger", "/triggers/" + ids.trigger],
  ["a schedule", "/triggers/" + ids.schedule], ["new trigger", "/triggers/new?kind=event&flow=" + ids.flow + "&type=service_down"], ["new schedule", "/triggers/new?kind=schedule"],
  ["explain none", "/triggers/explain"], ["explain", "/triggers/explain?sequence=" + ids.event], ["explain nonsense", "/triggers/explain?sequence=x"],
  ["runs", "/runs"], ["failed runs", "/runs?state=faulted&flow=" + ids.fails], ["no runs", "/runs?flow=" + ids.wrong], ["a failed run", "/runs/" + ids.faulted], ["a run", "/runs/" + ids.done], ["no run", "/runs/0123"], ["secrets", "/secrets"],
];

async function look(browser, ids) {
  for (const [scheme, width] of [["light", 1440], ["dark", 1440], ["light", 360], ["dark", 360]]) {
    const context = await browser.newContext({ colorScheme: scheme, viewport: { width, height: 900 } });
    const page = await context.newPage();
    const bad = watch(page);
    await signIn(page);
    for (const [name, where] of pages(ids)) {
      await check(`look ${name} ${scheme} ${width}`, async () => {
        bad.length = 0;
        await page.goto(base + where);
        if (width === 1440 && scheme === "light") keep(name, await (await page.request.get(base + where)).text());
        await page.evaluate(() => { for (const d of document.querySelectorAll("main details")) d.open = true; });
        await inspect(page, bad);
        return bad.join("\n");
      });
    }
    await context.close();
  }
}

// write replaces the document, as somebody who types would.
async function write(page, text) {
  await page.fill("#document", text);
}

const greet = (name) => `document:\n  dsl: '1.0.3'\n  namespace: default\n  name: ${name}\n  version: '1.0.0'\ndo:\n  - look:\n      set:\n        unit: \${ .data.unit }\n  - tell:\n      call: status\n      with:\n        status: seen\n`;

async function author(browser, ids) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
  const page = await context.newPage();
  const bad = watch(page);
  await signIn(page);
  await check("editor: problems as one writes, with what to write instead", async () => {
    await page.goto(base + "/flows/new");
    await write(page, greet("live").replace("set:", "sat:"));
    await page.waitForSelector(".mistakes");
    const says = await page.locator("#check").innerText();
    return (says.includes("line 8") || says.includes("line 7")) && says.includes("write set instead of sat") ? "" : says;
  });
  await check("editor: from a problem to its line", async () => {
    await page.click(".mistakes a[data-line]");
    const at = await page.evaluate(() => { const t = document.getElementById("document"); return [document.activeElement === t, t.value.slice(t.selectionStart, t.selectionEnd)]; });
    return equal(at[0], true, "focus") || (/sat|look/.test(at[1]) ? "" : "selected: " + at[1]);
  });
  await check("editor: the diagram follows", async () => {
    await write(page, greet("live"));
    await page.waitForSelector("#check svg.flow");
    const names = await page.locator("#check svg.flow .name").allTextContents();
    return equal(names.join(), "look,tell", "tasks") || equal(await page.locator("#check .badge").innerText(), "valid", "check");
  });
  await check("editor: lines have numbers, and begin where the one before began", async () => {
    await write(page, "a:\n  - b:");
    await page.focus("#document");
    await page.keyboard.press("Control+End");
    await page.keyboard.press("Enter");
    await page.keyboard.type("c");
    const text = await page.inputValue("#document");
    const numbers = await page.locator(".source .lines").evaluate((e) => e.textContent);
    return equal(text, "a:\n  - b:\n      c", "text") || equal(numbers, "1\n2\n3", "numbers");
  });
  await check("dry run: a stored event, every step, and nothing outside", async () => {
    await page.goto(base + "/flows/new");
    await write(page, greet("live"));
    await page.fill('[name="dry.sequence"]', ids.event);
    const before = (await api("GET", "/v1/runs?limit=1000")).items.length;
    await page.click("button[value=dry]");
    await page.waitForSelector("#rehearsed .steps");
    const steps = await page.locator("#rehearsed .steps > li").count();
    await page.click("#rehearsed .steps > li:first-child summary");
    const first = await page.locator("#rehearsed .steps > li:first-child").innerText();
    const after = (await api("GET", "/v1/runs?limit=1000")).items.length;
    return equal(steps, 2, "steps") || equal(after, before, "runs") || (first.includes("img src=x") && first.includes("INPUT".toLowerCase().replace("i", "I")) ? "" : first) || ((await page.locator("#rehearsed").innerText()).includes("seen") ? "" : "no status");
  });
  let made = "";
  await check("editor: stored, changed, and the version is another", async () => {
    await page.click("form#flow button:not([value])");
    await page.waitForURL(/\/flows\/\d+\?said=made/);
    made = /flows\/(\d+)/.exec(page.url())[1];
    const first = (await api("GET", "/v1/flows/" + made)).version;
    await write(page, greet("live").replace("seen", "noted"));
    await page.click("form#flow button:not([value])");
    await page.waitForURL(/said=saved/);
    const now = await api("GET", "/v1/flows/" + made);
    return equal(now.version === first, false, "same version") || equal(now.document.includes("noted"), true, "document") || equal(await page.inputValue("#document"), now.document, "text area");
  });
  await check("editor: a lost update is refused, and what was typed stays", async () => {
    await page.goto(base + "/flows/" + made);
    await api("PUT", "/v1/flows/" + made, greet("live").replace("seen", "theirs"), "application/yaml");
    await write(page, greet("live").replace("seen", "mine"));
    await page.click("form#flow button:not([value])");
    await page.waitForSelector(".problem");
    return equal((await page.inputValue("#document")).includes("mine"), true, "what was typed") || equal((await api("GET", "/v1/flows/" + made)).document.includes("theirs"), true, "stored");
  });
  await check("a run by hand leads to its page", async () => {
    await page.goto(base + "/flows/" + made);
    await page.click("summary:has-text('Run it now')");
    await page.fill("[name=input]", '{"data":{"unit":"db"}}');
    await page.click("form[action$='/run'] button");
    await page.waitForURL(/\/runs\/[0-9a-f]+/);
    await page.waitForSelector("#run .badge-good");
    return "";
  });
  await check("a run by hand with an input that is none", async () => {
    await page.goto(base + "/flows/" + made);
    await page.click("summary:has-text('Run it now')");
    await page.fill("[name=input]", "{");
    await page.click("form[action$='/run'] button");
    await page.waitForSelector(".problem");
    return equal(await page.inputValue("[name=input]"), "{", "what was typed");
  });
  await check("a flow is deleted once one has said so", async () => {
    await page.goto(base + "/flows/" + made);
    await page.click("summary:has-text('Delete')");
    await page.click("button.danger");
    await page.waitForURL(/said=deleted/);
    return (await page.locator("main").innerText()).includes("live") ? "it is still in the list" : "";
  });
  await check("authoring: nothing went wrong aside", async () => bad.join("\n"));
  await context.close();
}

async function act(browser, ids) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
  const page = await context.newPage();
  const bad = watch(page);
  await signIn(page);
  await check("run: it goes on while one looks", async () => {
    const run = (await send("POST", "/v1/flows/" + ids.slow + "/runs", {})).id;
    await page.goto(base + "/runs/" + run);
    await page.waitForSelector("#run .badge-wait");
    await page.waitForSelector("#run .badge-good:has-text('completed')", { timeout: 15000 });
    await page.waitForSelector("#run p .badge-good", { timeout: 15000 });
    return equal(await page.locator("#run .steps > li").count(), 3, "steps");
  });
  await check("run: cancelled", async () => {
    const run = (await send("POST", "/v1/flows/" + ids.long + "/runs", {})).id;
    await soon("it waits", async () => (await api("GET", "/v1/runs/" + run)).state === "waiting");
    await page.goto(base + "/runs/" + run);
    await page.click("summary:has-text('Cancel')");
    await page.click("button.danger");
    await page.waitForSelector("#run .badge:has-text('cancelled')");
    return equal((await api("GET", "/v1/runs/" + run)).state, "cancelled", "state");
  });
  await check("run: the error says where, and it is tried again", async () => {
    await page.goto(base + "/runs/" + ids.faulted);
    const says = await page.locator("#run .problem").innerText();
    if (!says.includes("[418]") || !says.includes("/do/1/no")) return says;
    await page.click("button:has-text('Try again')");
    await page.waitForURL((u) => !u.pathname.endsWith(ids.faulted));
    await page.waitForSelector("#run .badge-bad");
    return equal(await page.locator("a:has-text('It tries again')").count(), 1, "the way back");
  });
  await check("run: a step opens by the keyboard", async () => {
    await page.goto(base + "/runs/" + ids.done);
    await page.focus("#run .steps > li:first-child summary");
    await page.keyboard.press("Enter");
    return equal(await page.locator("#run .steps > li:first-child pre").first().isVisible(), true, "input");
  });
  await check("runs: a new one comes into the open list", async () => {
    await page.goto(base + "/runs?flow=" + ids.fails);
    await page.waitForSelector("#live[aria-pressed=true]:has-text('on')");
    const run = (await send("POST", "/v1/flows/" + ids.fails + "/runs", {})).id;
    await page.waitForSelector("#r" + run + " .badge-bad");
    return "";
  });
  await check("trigger: coming times as one writes, on two clocks", async () => {
    await page.goto(base + "/triggers/new?kind=schedule&flow=" + ids.slow);
    await page.fill("[name=timezone]", "Asia/Tokyo");
    await page.fill("[name=cron]", "0 9 * * *");
    await page.waitForSelector("#previewed .slots li");
    const first = await page.locator("#previewed .slots li").first().innerText();
    return first.includes("09:00:00 JST") ? "" : first;
  });
  await check("trigger: a wrong time is said as one writes", async () => {
    await page.fill("[name=cron]", "61 * * * *");
    await page.waitForSelector("#previewed .problem");
    return (await page.locator("#previewed").innerText()).includes("minute") ? "" : "no word of the minute";
  });
  await check("trigger: events for which it would have run", async () => {
    await page.goto(base + "/triggers/new?kind=event&flow=" + ids.flow);
    await page.fill("[name=types]", "service_down");
    await page.waitForSelector("#previewed tbody tr");
    await page.fill("[name=filter]", 'data.unit == "no such unit"');
    await page.waitForSelector("#previewed .note:has-text('No event')");
    return "";
  });
  await check("trigger: made, runs, and its run says why", async () => {
    await page.fill("[name=name]", "by hand");
    await page.fill("[name=filter]", 'data.unit == "clicked"');
    await page.click("form#trigger button:not([value])");
    await page.waitForURL(/\/triggers\/\d+\?said=made/);
    const id = /triggers\/(\d+)/.exec(page.url())[1];
    await emit({ id: "clicked", type: "service_down", data: { unit: "clicked", reason: "failed" } });
    await soon("it ran", async () => (await api("GET", "/v1/runs?trigger=" + id)).items.length === 1);
    await page.goto(base + "/runs?trigger=" + id);
    await page.click("#runs a[href^='/events/']");
    await page.waitForURL(/\/events\/\d+/);
    return "";
  });
  await check("trigger: a wrong filter is shown where it is", async () => {
    await page.goto(base + "/triggers/" + ids.trigger);
    await page.fill("[name=filter]", "data.unit ==");
    await page.click("form#trigger button:not([value])");
    await page.waitForSelector(".problem pre");
    return equal(await page.inputValue("[name=filter]"), "data.unit ==", "what was typed");
  });
  await check("trigger: a form that is not changed changes nothing", async () => {
    const before = await api("GET", "/v1/triggers/" + ids.trigger);
    await page.goto(base + "/triggers/" + ids.trigger);
    await page.click("form#trigger button:not([value])");
    await page.waitForURL(/said=saved/);
    const after = await api("GET", "/v1/triggers/" + ids.trigger);
    for (const x of [before, after]) { delete x.updated; delete x.skips; }
    return equal(JSON.stringify(after), JSON.stringify(before), "trigger");
  });
  await check("trigger: a schedule that is not changed changes nothing", async () => {
    const before = await api("GET", "/v1/triggers/" + ids.schedule);
    await page.goto(base + "/triggers/" + ids.schedule);
    await page.click("form#trigger button:not([value])");
    await page.waitForURL(/said=saved/);
    const after = await api("GET", "/v1/triggers/" + ids.schedule);
    for (const x of [before, after]) { delete x.updated; delete x.skips; }
    return equal(JSON.stringify(after), JSON.stringify(before), "trigger");
  });
  await check("trigger: switched off and on", async () => {
    await page.goto(base + "/triggers");
    await page.click("form[action='/triggers/" + ids.schedule + "/enabled'] button");
    await page.waitForURL(/said=off/);
    if ((await api("GET", "/v1/triggers/" + ids.schedule)).enabled) return "it is on";
    await page.click("form[action='/triggers/" + ids.schedule + "/enabled'] button");
    await page.waitForURL(/said=on/);
    return equal((await api("GET", "/v1/triggers/" + ids.schedule)).enabled, true, "enabled");
  });
  await check("explain: from an event to the run, and why others did not", async () => {
    await page.goto(base + "/triggers/explain?sequence=" + ids.event);
    const says = await page.locator("main").innerText();
    return says.includes("it was off") && says.includes("Its run") ? "" : says;
  });
  await check("secret: made, given another value, shown to who knows the password", async () => {
    await page.goto(base + "/secrets");
    await page.fill("form[action='/secrets'] [name=name]", "orchard");
    await page.fill("form[action='/secrets'] [name=value]", "apples-1");
    await page.click("form[action='/secrets'] button");
    await page.waitForURL(/said=made/);
    if ((await page.content()).includes("apples-1")) return "the value is shown";
    const row = page.locator("tr", { hasText: "orchard" });
    await row.locator("summary:has-text('New value')").click();
    await row.locator("[name=value]").fill("pears-2");
    await row.locator("button:has-text('Set it')").click();
    await page.waitForURL(/said=saved/);
    await row.locator("summary:has-text('Show')").click();
    await row.locator("[name=password]").fill("wrong password 1");
    await row.locator("button:has-text('Show it')").click();
    await page.waitForSelector(".problem");
    await row.locator("summary:has-text('Show')").click();
    await row.locator("[name=password]").fill(password);
    await row.locator("button:has-text('Show it')").click();
    await page.waitForSelector("#revealed");
    return equal(await page.locator("#revealed").innerText(), "pears-2", "value");
  });
  await check("acting: nothing went wrong aside", async () => bad.join("\n"));
  await context.close();
}

// Without scripts everything can be read, and what matters can be done.
async function plainly(browser, ids) {
  const context = await browser.newContext({ javaScriptEnabled: false, viewport: { width: 1024, height: 800 } });
  const page = await context.newPage();
  await signIn(page);
  await check("without scripts: check, diagram and dry run", async () => {
    await page.goto(base + "/flows/" + ids.flow);
    if ((await page.locator("#check svg.flow").count()) !== 1) return "no diagram";
    await page.fill('[name="dry.input"]', '{"data":{"unit":"db"}}');
    await page.click("button[value=dry]");
    return (await page.locator("#rehearsed .steps > li").count()) === 3 ? "" : await page.locator("main").innerText();
  });
  await check("without scripts: a flow is stored", async () => {
    await page.goto(base + "/flows/new");
    await page.fill("#document", greet("plainly"));
    await page.click("form#flow button:not([value])");
    return (await page.locator("h1").innerText()) === "plainly" ? "" : page.url();
  });
  await context.close();
}

// A viewer reads, and is offered nothing else.
async function viewer(browser, ids) {
  await send("POST", "/v1/users", { username: "vera", name: "Vera", password: "wonderful tulips 9", access_level: "viewer" });
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
  const page = await context.newPage();
  await signIn(page, "vera", "wonderful tulips 9");
  await check("a viewer reads, and is offered nothing else", async () => {
    const shown = [];
    for (const where of ["/flows", "/flows/" + ids.flow, "/triggers", "/triggers/" + ids.trigger, "/runs", "/runs/" + ids.faulted]) {
      const r = await page.goto(base + where);
      if (r.status() !== 200) shown.push(where + ": " + r.status());
      const buttons = await page.locator("main button:visible:not([id=live]):not([data-copy])").allInnerTexts();
      const acts = buttons.filter((b) => !/^(Show|Live.*)$/.test(b));
      if (acts.length) shown.push(where + ": " + acts.join());
    }
    for (const where of ["/flows/new", "/triggers/new", "/secrets"]) {
      const r = await page.goto(base + where);
      if (r.status() !== 403) shown.push(where + ": " + r.status());
    }
    return shown.join("\n");
  });
  await context.close();
}

drive(async (browser) => {
  const ids = await seed();
  await look(browser, ids);
  await author(browser, ids);
  await act(browser, ids);
  await plainly(browser, ids);
  await viewer(browser, ids);
});
