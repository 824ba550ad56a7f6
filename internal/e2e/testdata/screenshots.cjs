// Takes the pictures of the documentation. Environment: URL, PASSWORD, CHROMIUM,
// OUT.
"use strict";
const { chromium } = require("playwright-core");
const path = require("path");
const { URL: base, PASSWORD: password, CHROMIUM: executablePath, OUT: out } = process.env;

(async () => {
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-background-networking"] });
  const shots = [
    ["overview", "light", 1280, "/"], ["events", "light", 1280, "/events"], ["events-dark", "dark", 1280, "/events?q=" + encodeURIComponent("severity >= warn"), "drawer"],
    ["catalog", "light", 1280, "/catalog"], ["settings", "light", 1280, "/settings"], ["phone", "dark", 360, "/events"],
    ["inbox", "light", 1280, "/inbox"], ["routing", "light", 1280, "/routing"], ["rule", "dark", 1280, "/rules/4"], ["told", "light", 1280, "/rules/1/explain?sequence=" + process.env.SEQUENCE],
  ];
  for (const [name, colorScheme, width, where, how] of shots) {
    const context = await browser.newContext({ colorScheme, viewport: { width, height: 760 } });
    const page = await context.newPage();
    await page.goto(base + "/sign-in");
    await page.fill("input[name=username]", "admin");
    await page.fill("input[name=password]", password);
    await Promise.all([page.waitForURL(base + "/"), page.click("main button")]);
    await page.goto(base + where);
    if (await page.locator("#more-facets").count()) await page.waitForSelector("#more-facets:not([hx-get])", { state: "attached" });
    if (how === "drawer") {
      await page.click("#rows tr:has-text('backup') a.open");
      await page.waitForSelector("#drawer #detail");
      await page.evaluate(() => scrollTo(0, 0));
    }
    await page.screenshot({ path: path.join(out, name + ".png") });
    await context.close();
  }
  await browser.close();
})().catch((e) => { console.error(e); process.exit(1); });
