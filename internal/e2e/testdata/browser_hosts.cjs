// Drives real Chromium over the pages about hosts: sources and agents.
"use strict";
const { base, check, api, emit, equal, hostile, signIn, watch, inspect, keep, drive } = require("./browser_kit.cjs");

const { FORWARD: forward } = process.env;
const fifteen = [
  "aide_diff", "backup_failed", "backup_future_warnings", "backup_succeeded", "cert_renew", "cron_failed", "crowdsec_spike", "db_root_rotated", "disk_full", "domain_expiry",
  "domain_registrar_expiry", "mail_quarantined", "mail_throttle_suspended", "malware_file_hit", "service_down",
];
const nasty = '<script>window.hacked=1</script>"><img src=x onerror="window.hacked=1">';

const report = async (id, body) => {
  const r = await fetch(base + "/v1/agents/" + id, { method: "PUT", headers: { authorization: "Bearer " + forward, "content-type": "application/json" }, body: JSON.stringify(body) });
  if (r.status !== 204) throw new Error("report: " + r.status + " " + (await r.text()));
};

async function seed() {
  for (const type of fifteen) await emit({ id: "of-" + type, type, data: { name: "n", domain: "d", path: "/p", unit: "u", sender: "s", engine: "mariadb", decisions: 1 } });
  const now = new Date();
  await report("web-one", { name: "web-1", version: "1.2.3", now, labels: { dc: "fra", rack: "r12" }, lag: 0, sources: [
    { name: "disk_full", status: "running", last_event: now, last_error: "", lacks: "" },
    { name: "crowdsec_spike", status: "unavailable", last_event: null, last_error: "", lacks: "no LAPI at http://127.0.0.1:8080" },
  ] });
  for (const [i, h] of hostile.entries()) {
    await report("bad-" + i, { name: h.slice(0, 200).replace(/[\u0000-\u0020\u007f]/g, "_"), version: h.slice(0, 100), now: new Date(0), labels: { [h.slice(0, 50)]: h.slice(0, 2000) }, lag: 5000, refused: 3, sources: [{ name: h.slice(0, 60), status: h.slice(0, 60), last_event: null, last_error: h.slice(0, 2000), lacks: nasty }] });
  }
}

const pages = [
  ["sources", "/sources"], ["sources found", "/sources?q=mail"], ["no source", "/sources?q=zeppelin"], ["a push source", "/sources/github"], ["a missing source", "/sources/zeppelin"],
  ...fifteen.map((name) => [name, "/sources/" + name]),
  ["agents", "/agents"], ["an agent", "/agents/web-one"], ["a hostile agent", "/agents/bad-0"], ["a long agent", "/agents/bad-5"], ["a missing agent", "/agents/none"],
];

async function look(browser) {
  for (const [scheme, width] of [["light", 1440], ["dark", 1440], ["light", 360], ["dark", 360]]) {
    const context = await browser.newContext({ colorScheme: scheme, viewport: { width, height: 900 } });
    const page = await context.newPage();
    const bad = watch(page);
    await signIn(page);
    for (const [name, where] of pages) {
      await check(`look ${name} ${scheme} ${width}`, async () => {
        bad.length = 0;
        await page.goto(base + where);
        for (const s of await page.locator("main summary").all()) if (await s.isVisible()) await s.click();
        if (width === 1440 && scheme === "light") keep(name, await (await page.request.get(base + where)).text());
        await inspect(page, bad);
        return bad.join("\n");
      });
    }
    await context.close();
  }
}

async function act(browser) {
  for (const scripts of [true, false]) {
    const context = await browser.newContext({ javaScriptEnabled: scripts });
    const page = await context.newPage();
    await signIn(page);
    const how = scripts ? "" : " without scripts";
    await check("the sources of the seed are wired, counted and explained" + how, async () => {
      for (const name of fifteen) {
        await page.goto(base + "/sources?q=" + name);
        await Promise.all([page.waitForURL(base + "/sources/" + name), page.click(`main a.open[href="/sources/${name}"]`)]);
        const text = await page.locator("main").innerText();
        for (const want of ["wired", "1 in the last 24 hours", "enabled", "sources." + name]) if (!text.includes(want)) return `${name} does not say ${want}: ${text.slice(0, 400)}`;
        if (text.includes("not wired")) return name + " is not wired";
        await page.goto(base + "/catalog/" + name);
        if (!(await page.locator("main").innerText()).includes("Something in this version raises it")) return name + " waits, by the catalog";
      }
      return "";
    });
    await check("a source leads to its events" + how, async () => {
      await page.goto(base + "/sources/disk_full");
      await page.click("main td a:has-text('events of disk_full')");
      await page.waitForSelector("#rows tr");
      return equal(await page.locator("#rows tr a.open").first().innerText(), "disk_full", "the type");
    });
    await check("the search box finds sources" + how, async () => {
      await page.goto(base + "/sources");
      await page.fill("#search", "backup zeppelin");
      await page.press("#search", "Enter");
      await page.waitForURL(/q=backup/);
      await page.waitForSelector("text=No source has these words");
      return "";
    });
    await check("an agent shows how it fares" + how, async () => {
      await page.goto(base + "/agents");
      await Promise.all([page.waitForURL(base + "/agents/web-one"), page.click("main a.open[href='/agents/web-one']")]);
      const text = await page.locator("main").innerText();
      for (const want of ["reports", "1.2.3", "fra", "crowdsec_spike", "no LAPI"]) if (!text.includes(want)) return want + " is not there";
      return "";
    });
    await check("an agent is forgotten" + how, async () => {
      const id = scripts ? "bad-1" : "bad-2";
      await page.goto(base + "/agents/" + id);
      await page.click("summary:has-text('Forget this agent')");
      await Promise.all([page.waitForURL(/said=forgotten/), page.click("button:has-text('Forget it')")]);
      const left = (await api("GET", "/v1/agents")).items.map((a) => a.id);
      return left.includes(id) ? "it is still there" : "";
    });
    await context.close();
  }
}

drive(async (browser) => {
  await seed();
  await look(browser);
  await act(browser);
});
